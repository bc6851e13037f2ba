package relay

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"srtrelay/relay/takeover"
)

// storeName is the name of a file with the service manager: its parts, escaped.
func storeName(f takeover.File) string {
	return strings.Join([]string{f.Kind, strconv.Itoa(f.Shard), strconv.Itoa(f.Index), url.QueryEscape(f.Name)}, "/")
}

// readStoreName is the opposite of storeName.
func readStoreName(name string) (f takeover.File, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return f, false
	}
	var errs [3]error
	f.Kind = parts[0]
	f.Shard, errs[0] = strconv.Atoi(parts[1])
	f.Index, errs[1] = strconv.Atoi(parts[2])
	f.Name, errs[2] = url.QueryUnescape(parts[3])
	return f, errs == [3]error{} && f.Shard >= 0 && f.Index >= 0
}

func (c *checkpointer) store(ctx context.Context, name string, fd int) error {
	if err := c.manager.Store(ctx, name, fd); err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	c.kept[name] = true
	return nil
}

func (c *checkpointer) remove(ctx context.Context, name string) error {
	if err := c.manager.Remove(ctx, name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	delete(c.kept, name)
	delete(c.stale, name)
	return nil
}

// forgetNames has the manager close all descriptors of some names, and waits until it has.
func (r *relay) forgetNames(names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), forgetTimeout)
	defer cancel()
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := r.manager.Remove(ctx, name); err != nil {
			r.log.Warn("the service manager keeps a descriptor", "name", name, "error", err)
			return
		}
	}
	if err := r.manager.Barrier(ctx); err != nil {
		r.log.Warn("the service manager may keep descriptors for a while", "error", err)
	}
}

// fileProbe is the kind of the descriptor by which the checkpointer finds out whether the service
// manager keeps more.
const fileProbe = "probe"

// errNotMain means that the service manager may not have heard yet who its main process is.
var errNotMain = errors.New("the service manager does not know this process yet")

// storeProof is what a checkpointer knows of what the service manager really has.
type storeProof struct {
	asked  bool // whether there is a store at all
	none   bool // there is none: nothing is sent
	due    bool // something was stored since the manager was last asked
	full   bool // it has not kept everything then
	proven bool // it has had everything since the checkpoint was stored
}

// findStore finds out whether there is a store before anything is stored: systemd writes a line
// to the journal for each descriptor that it does not keep. What it has of a process before
// shows that there is one, if this process is of the same service.
func (c *checkpointer) findStore(ctx context.Context) error {
	if c.asked || len(c.kept) > 0 && !c.inherited {
		return nil
	}
	full, err := c.isFull(ctx)
	if err == nil && full && c.inherited && time.Since(c.started) < setMainTimeout {
		err = errNotMain
	}
	if err != nil {
		return err
	}
	c.asked, c.none = true, full
	if full {
		c.log.Warn("the service manager keeps no descriptors, sessions end with a crash: see FileDescriptorStoreMax= of the unit")
	}
	return nil
}

// prove finds out whether the service manager has kept everything.
func (c *checkpointer) prove(ctx context.Context) error {
	if !c.due {
		return nil
	}
	full, err := c.isFull(ctx)
	if err != nil {
		return err
	}
	if full && !c.full {
		c.log.Warn("the service manager does not keep all descriptors, sessions end with a crash: see FileDescriptorStoreMax= of the unit",
			"needed", len(c.kept)+1)
	}
	c.due, c.full, c.proven = false, full, c.proven || !full
	return nil
}

func (c *checkpointer) isFull(ctx context.Context) (bool, error) {
	return c.manager.Full(ctx, storeName(takeover.File{Kind: fileProbe}))
}
