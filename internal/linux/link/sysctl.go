package link

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// Sysctl writes a value under /proc/sys in the namespace of the calling thread, unless it is there already. A key that
// the kernel does not have (IPv6 compiled out, device gone) is no error and changes nothing.
func Sysctl(key, value string) (changed bool, err error) {
	path := "/proc/sys/" + key
	old, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("sysctl %s: %w", key, err)
	}
	if string(bytes.TrimSpace(old)) == value {
		return false, nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return false, fmt.Errorf("sysctl %s=%s: %w", key, value, err)
	}
	return true, nil
}
