package handshake

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxSecretFile is far above the longest file of secrets; it stops a mistyped path.
const maxSecretFile = 64 << 10

// ReadSecrets reads the shared secrets of a file. Errors quote nothing of what it has.
func ReadSecrets(name string) ([]Secret, error) {
	text, err := readSecretFile(name)
	if err == nil {
		var all []Secret
		if all, err = ParseSecrets(text); err == nil {
			return all, nil
		}
	}
	return nil, fmt.Errorf("--cookie-secret-file %s: %w", name, err)
}

// readSecretFile reads a file that nobody but its owner and group can read, and nobody but
// its owner can write. It does not wait for the writer of a pipe.
func readSecretFile(name string) (string, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", causeOf(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", causeOf(err)
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file, which cannot be read again")
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return "", fmt.Errorf("its mode is %04o, so that others can read or change it: chmod 0600, or 0440", mode)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	switch {
	case err != nil:
		return "", causeOf(err)
	case len(text) > maxSecretFile:
		return "", fmt.Errorf("longer than %d bytes", maxSecretFile)
	}
	return string(text), nil
}

// causeOf returns an error of a file without its name, which the caller says.
func causeOf(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
