//go:build unix && !linux

package localpg

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent does nothing: other systems have no such request. The next start ends what was left.
func dieWithParent(*syscall.SysProcAttr) {}

// serversOf returns the Postgres server that runs on a data folder. Sessions that outlived it are not found;
// Postgres itself refuses to start beside them.
func serversOf(ctx context.Context, data string) ([]int, error) {
	pid, err := recordedPID(data)
	if err != nil || pid == 0 {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "stat=,command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil, ctx.Err() // no such process
	}
	line := strings.TrimSpace(string(out))
	if strings.HasPrefix(line, "Z") || !strings.Contains(line, "postgres") || !strings.Contains(line, data) {
		return nil, nil
	}
	return []int{pid}, nil
}
