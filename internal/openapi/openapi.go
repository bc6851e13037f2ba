// Package openapi checks requests and responses against an OpenAPI document.
//
// It is for tests only.
package openapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// Contract is an OpenAPI document. It does not change.
type Contract struct {
	doc    *openapi3.T
	router routers.Router
}

// The document describes bodies that are not JSON as strings.
func init() {
	for _, typ := range []string{"application/x-pcapng", "application/yaml", "text/event-stream", "text/html"} {
		openapi3filter.RegisterBodyDecoder(typ, openapi3filter.FileBodyDecoder)
	}
}

// Parse reads a document and checks it.
func Parse(text []byte) (*Contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("read OpenAPI document: %w", err)
	}
	doc.Servers = nil // a test's server has an address of its own
	router, err := legacy.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("check OpenAPI document: %w", err)
	}
	return &Contract{doc, router}, nil
}

// Operations returns the responses in the document, as "GET /path 200".
func (c *Contract) Operations() (all []string) {
	for path, item := range c.doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				all = append(all, method+" "+path+" "+status)
			}
		}
	}
	return all
}

// Path returns the document's template for the path of a request, "" for none.
func (c *Contract) Path(r *http.Request) string {
	route, _, err := c.router.FindRoute(r)
	if err != nil {
		return ""
	}
	return route.Path
}

// CheckRequest returns an error if the document does not allow a request. It reads the
// body.
func (c *Contract) CheckRequest(r *http.Request) error {
	in, err := c.input(r)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateRequest(context.Background(), in)
}

// CheckResponse returns an error if the document does not allow the response to a request.
func (c *Contract) CheckResponse(r *http.Request, status int, header http.Header, body []byte) error {
	in, err := c.input(r)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Options: in.Options,
	})
}

func (c *Contract) input(r *http.Request) (*openapi3filter.RequestValidationInput, error) {
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
	}
	return &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			MultiError: true, IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
		},
	}, nil
}
