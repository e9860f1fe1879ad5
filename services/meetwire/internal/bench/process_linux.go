package bench

import "syscall"

// dieWithParent makes the kernel ask a program to end when this process dies, however it does.
func dieWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGTERM }
