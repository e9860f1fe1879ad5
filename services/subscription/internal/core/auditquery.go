package core

import "time"

// AuditQuery says which entries of the audit log are asked for. What is empty is not looked at.
type AuditQuery struct {
	Organization string // slug; empty: all, and those of the installation
	Actor        string
	Action       string
	Resource     string
	From         time.Time // the oldest one
}
