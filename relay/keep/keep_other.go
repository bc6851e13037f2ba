//go:build !linux

package keep

import "errors"

// Run works on Linux only.
func Run(Program) (code int, err error) {
	return 0, errors.New("it needs Linux")
}
