package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Users of NATS.
const (
	UserIngest       = "ingest"
	UserDelivery     = "delivery"
	UserSubscription = "subscription"
	// UserPublisher publishes for every organization. PublisherUser names those that publish for one.
	UserPublisher = "publisher"
	// UserOperator is for people who look after streams and consumers.
	UserOperator = "operator"
	// UserSystem is in the system account, apart from everything of Meetwire: it looks after servers.
	UserSystem = "system"
)

// PublisherUser is the user that publishes the events of one organization.
func PublisherUser(organization string) string { return UserPublisher + "-" + organization }

// InboxPrefix begins the subjects on which a user gets the answers to its requests, such as acknowledgements. Each
// user has its own and may listen to no other's in its account. Clients must be told: nats.CustomInboxPrefix. Publishers,
// which share their accounts with nobody, may use nats.InboxPrefix instead, as clients do when they are told nothing.
func InboxPrefix(user string) string { return "_INBOX_" + user }

// Accounts of NATS. Messages do not pass between them, except events from publishers to AccountMeetwire.
const (
	AccountMeetwire = "MEETWIRE"
	AccountSystem   = "SYSTEM"
	// AccountPublisher is that of UserPublisher. A publisher must not be in AccountMeetwire, whatever it may publish
	// to: the server sends the acknowledgement of its event to any subject that it names, without a look at its
	// permissions. So it could have acknowledgements stored as events of others, as deliveries, or taken as requests.
	// From its own account they stay there.
	AccountPublisher = "PUBLISHER"
)

// NATSUser is a user of NATS and what it may do: nothing but this.
type NATSUser struct {
	Name, Account string
	// Purpose says what it is for, in one line.
	Purpose string
	// Publish and Subscribe are the subjects that it may publish to and listen to. Those of UserSystem are empty: its
	// account has nothing that they could be about. What one of another account may publish goes to AccountMeetwire.
	Publish, Subscribe []string
}

// errPublisher is returned for an organization that cannot have a user.
var errPublisher = errors.New("a publisher must be an organization")

// NATSUsers returns the users of NATS: one for each service, UserPublisher, one for each of the organizations that
// publish for themselves, UserOperator and UserSystem.
func NATSUsers(organizations ...string) ([]NATSUser, error) {
	users := []NATSUser{
		{
			Name: UserIngest, Purpose: "Ingest: takes events, makes deliveries.",
			Publish: joined(
				ensureStreams(),
				access(StreamEvents, read, consume, remove), access(StreamRejects, read, consume, remove),
				access(StreamFanOuts, read, consume, remove),
				access(StreamDeliveries, read), // how much waits
				access(StreamRetries, read),
				access(StreamDeadLetters, read, consume), // counts those of a webhook
				membership(UserIngest),
				[]string{EventsFilter(), "rejects.>", FanOutsFilter(), "deliveries.>"},
			),
		},
		{
			Name: UserDelivery, Purpose: "Delivery: sends, retries, gives up, remembers.",
			Publish: joined(
				ensureStreams(),
				access(StreamEvents, read),
				access(StreamDeliveries, read, consume, remove), access(StreamRetries, read, consume, remove),
				access(StreamDeadLetters, read, consume, remove), access(StreamRecords, read, consume, remove),
				membership(UserDelivery),
				[]string{"deliveries.>", "retries.>", "deadletters.>", "records.>"},
			),
		},
		{
			Name: UserSubscription, Purpose: "Subscription: publishes what happens to the configuration itself, and reads nothing.",
			Publish: []string{"events.*.webhook.>", "events.*.secret.>", "events.*.delivery.>", "events.*.meetwire.>"},
		},
		{
			Name: UserPublisher, Account: AccountPublisher, Purpose: "A service that is trusted to publish the events of every organization.",
			Publish: []string{EventsFilter()},
		},
	}
	seen := make(map[string]bool)
	for _, organization := range organizations {
		if !IsOrganization(organization) || seen[organization] {
			return nil, fmt.Errorf("%w, each once, and not %q", errPublisher, organization)
		}
		seen[organization] = true
		users = append(users, NATSUser{
			Name: PublisherUser(organization), Account: AccountPublisher + "-" + organization, Purpose: "Publishes the events of " + organization + ".",
			Publish: []string{EventSubject(organization, AnyRest)},
		})
	}
	users = append(users, NATSUser{
		Name: UserOperator, Purpose: "People: look at streams and consumers, pause, purge; publish nothing.",
		Publish:   []string{"$JS.API.>", "$JS.ACK.>", "$JS.FC.>"},
		Subscribe: []string{"$JS.EVENT.>"},
	})
	for i := range users {
		users[i].Subscribe = append([]string{InboxPrefix(users[i].Name) + ".>"}, users[i].Subscribe...)
		if users[i].Account == "" {
			users[i].Account = AccountMeetwire
		} else {
			users[i].Subscribe = append(users[i].Subscribe, nats.InboxPrefix+">") // what clients use: it has no others to hear
		}
	}
	return append(users, NATSUser{Name: UserSystem, Account: AccountSystem, Purpose: "Looks after servers."}), nil
}

// right is something that can be done with a stream, as the subjects of the JetStream API; $ stands for the stream.
type right string

const (
	// read is to look at a stream and to get single messages.
	read right = "STREAM.INFO.$ STREAM.MSG.GET.$ DIRECT.GET.$ DIRECT.GET.$.>"
	// consume is to make consumers and look at them, take messages and acknowledge them.
	consume right = "CONSUMER.CREATE.$.> CONSUMER.INFO.$.* CONSUMER.LIST.$ CONSUMER.NAMES.$ CONSUMER.MSG.NEXT.$.* CONSUMER.DELETE.$.*"
	// remove is to delete messages.
	remove right = "STREAM.MSG.DELETE.$ STREAM.PURGE.$"
	// ensure is to make a stream, and to bring its configuration up to date.
	ensure right = "STREAM.INFO.$ STREAM.CREATE.$ STREAM.UPDATE.$"
)

// apiPrefix begins the subjects of the JetStream API.
const apiPrefix = "$JS.API."

// access returns the subjects of rights on a stream.
func access(stream string, rights ...right) (subjects []string) {
	for _, r := range rights {
		for subject := range strings.FieldsSeq(string(r)) {
			subjects = append(subjects, apiPrefix+strings.ReplaceAll(subject, "$", stream))
		}
		if r == consume {
			subjects = append(subjects, "$JS.ACK."+stream+".>")
		}
	}
	return subjects
}

// ensureStreams is what EnsureStreams does.
func ensureStreams() (subjects []string) {
	for _, stream := range DefaultConfig().Streams() {
		subjects = append(subjects, access(stream.Name, ensure)...)
	}
	return subjects
}

// membership is what Membership does.
func membership(service string) []string {
	return append(access(membersStream, ensure, read, remove), memberSubject(service, AnyRest),
		apiPrefix+"INFO") // the client library asks what the server can do before it makes a bucket
}

// joined returns all subjects, each once.
func joined(lists ...[]string) (all []string) {
	seen := make(map[string]bool)
	for _, list := range lists {
		for _, subject := range list {
			if !seen[subject] {
				seen[subject] = true
				all = append(all, subject)
			}
		}
	}
	return all
}
