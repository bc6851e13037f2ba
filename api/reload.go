package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"srtrelay/api/answer"
)

// ErrReloading says that other reloads did not end in time.
var ErrReloading = errors.New("another reload is under way")

// reloadTimeout is how long a call waits for other reloads.
const reloadTimeout = 10 * time.Second

// reload reads the configuration file again. A file that is wrong changes nothing.
func (h *handler) reload(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), reloadTimeout)
	defer cancel()
	changed, err := h.deps.Reload(ctx)
	switch {
	case errors.Is(err, ErrReloading):
		unavailable(w, err.Error())
	case err != nil:
		writeError(w, http.StatusUnprocessableEntity, answer.Printable(err.Error()))
	default:
		writeReply(w, http.StatusOK, reply{Data: changed})
	}
}
