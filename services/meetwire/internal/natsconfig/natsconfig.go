// Package natsconfig owns `meetwire nats-config` and what deploy/nats/nats.conf is made with: the accounts of NATS, as
// the configuration of a nats-server. Who may do what is in pkg/bus; no secret is made or kept here.
package natsconfig

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/meetwire/meetwire/pkg/bus"
)

// Command is the command line of `meetwire nats-config`.
type Command struct {
	Publisher []string `help:"Organization that gets a user of its own, publisher-ORGANIZATION, which may publish its events and nothing else; can be given several times." placeholder:"ORGANIZATION" sep:"none"`
	StoreDir  string   `help:"Folder in which the server keeps its streams." default:"/data"`
}

// Run writes the configuration of a nats-server. Passwords are variables that the server reads from its environment.
func (c Command) Run(out io.Writer) error {
	accounts, err := Accounts(c.Publisher, func(user string) string { return "$" + PasswordVariable(user) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `# NATS for Meetwire: JetStream on disk, and users that may do what they need and nothing else. Made by
# meetwire nats-config, which also adds users that publish for one organization: --publisher acme.
# Passwords come from the environment of the server: %s for %s, and so on.
# Publishers have accounts of their own, from which only events pass: a permission to publish does not bind the subject
# that an acknowledgement is sent to. Those in one account get answers to subjects of their own; clients must be told
# their prefix, _INBOX_ and the name: nats --inbox-prefix _INBOX_operator.

port: 4222
http: 8222
max_payload: 1MB

jetstream {
  store_dir: %s
}

%s`, PasswordVariable(bus.UserPublisher), bus.UserPublisher, strconv.Quote(c.StoreDir), accounts)
	if err != nil {
		return fmt.Errorf("write the configuration of NATS: %w", err)
	}
	return nil
}

// PasswordVariable is the name of the variable with a user's password: NATS_PUBLISHER_ACME_PASSWORD.
func PasswordVariable(user string) string {
	return "NATS_" + strings.ToUpper(strings.ReplaceAll(user, "-", "_")) + "_PASSWORD"
}

// Users returns the names of all users.
func Users(publishers []string) ([]string, error) {
	users, err := bus.NATSUsers(publishers...)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(users))
	for i, user := range users {
		names[i] = user.Name
	}
	return names, nil
}

// Accounts returns the accounts and their users for the configuration of a nats-server. password returns a user's as it
// is to be written there: a variable, or a quoted text.
func Accounts(publishers []string, password func(user string) string) (string, error) {
	users, err := bus.NATSUsers(publishers...)
	if err != nil {
		return "", err
	}
	var accounts []string
	members := make(map[string][]bus.NATSUser)
	for _, user := range users {
		if members[user.Account] == nil {
			accounts = append(accounts, user.Account)
		}
		members[user.Account] = append(members[user.Account], user)
	}
	var b strings.Builder
	b.WriteString("accounts {\n")
	for _, account := range accounts {
		fmt.Fprintf(&b, "  %s: {\n", strconv.Quote(account))
		switch account {
		case bus.AccountMeetwire:
			b.WriteString("    jetstream: enabled\n    exports: [\n")
			for _, user := range users {
				if user.Account != bus.AccountMeetwire {
					forEach(&b, user.Publish, "      { service: %s, accounts: [%s] }\n", strconv.Quote(user.Account))
				}
			}
			b.WriteString("    ]\n")
		case bus.AccountSystem:
		default:
			b.WriteString("    imports: [\n")
			for _, user := range members[account] {
				forEach(&b, user.Publish, "      { service: { subject: %s, account: %s } }\n", strconv.Quote(bus.AccountMeetwire))
			}
			b.WriteString("    ]\n")
		}
		b.WriteString("    users: [\n")
		for _, user := range members[account] {
			writeUser(&b, user, password(user.Name))
		}
		b.WriteString("    ]\n  }\n")
	}
	fmt.Fprintf(&b, "}\nsystem_account: %s\n", bus.AccountSystem)
	return b.String(), nil
}

// forEach writes a line for each subject.
func forEach(b *strings.Builder, subjects []string, format, account string) {
	for _, subject := range subjects {
		fmt.Fprintf(b, format, strconv.Quote(subject), account)
	}
}

func writeUser(b *strings.Builder, user bus.NATSUser, password string) {
	fmt.Fprintf(b, "      # %s\n      {\n        user: %s\n        password: %s\n", user.Purpose, strconv.Quote(user.Name), password)
	if len(user.Publish) > 0 {
		fmt.Fprintf(b, "        permissions: {\n          publish: { allow: [%s] }\n          subscribe: { allow: [%s] }\n        }\n",
			list(user.Publish), list(user.Subscribe))
	}
	b.WriteString("      }\n")
}

// list writes subjects, several one below the other.
func list(subjects []string) string {
	if len(subjects) == 1 {
		return strconv.Quote(subjects[0])
	}
	var b strings.Builder
	for _, subject := range subjects {
		b.WriteString("\n            " + strconv.Quote(subject))
	}
	return b.String() + "\n          "
}
