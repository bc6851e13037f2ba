package api

import (
	_ "embed"
	"net/http"
)

// document describes the API in OpenAPI 3.1; tests hold it against what the
// calls answer.
//
//go:embed openapi.yaml
var document []byte

func openAPI(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "application/yaml")
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(document) // the client may be gone: its loss
}
