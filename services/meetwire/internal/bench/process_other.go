//go:build !linux

package bench

import "syscall"

// dieWithParent does nothing: other systems have no such request.
func dieWithParent(*syscall.SysProcAttr) {}
