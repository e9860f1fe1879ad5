package mail

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Kind says what an alert is about.
type Kind string

// The kinds of alerts.
const (
	KindFirstLastingFailure Kind = "first_lasting_failure" // two attempts in a row have failed
	KindHalfOfThreshold     Kind = "half_of_threshold"     // half of what disables the webhook is reached
	KindDisabled            Kind = "disabled"              // the system has disabled it
)

// Reasons of alerts, as delivery reports them.
const (
	reasonWithoutSuccess = "without_success"
	reasonGone           = "gone" // the receiver answered 410
)

// maxName is how many characters of a display name an e-mail shows.
const maxName = 80

// Alert is what an e-mail about a webhook is made of. Texts may be as people wrote them: Compose makes them
// harmless.
type Alert struct {
	Kind             Kind
	Organization     string    // slug
	OrganizationName string    // display name; empty: the slug is shown
	WebhookName      string    // display name; empty: the resource name is shown
	WebhookResource  string    // organizations/{organization}/webhooks/{webhook}
	TargetURL        string    // only scheme and host are shown: the rest may be a credential of the receiver's
	Reason           string    // consecutive_failures, without_success or gone
	Failures         int64     // attempts in a row that have failed
	Since            time.Time // when the first of them failed; zero: not said
	Threshold        string    // when the webhook is disabled, as DescribeThreshold says it; empty: nothing is said of it
	LastErrorClass   string    // of the last attempt, such as timeout
	LastStatus       int       // HTTP status of the last answer; 0: there was none
	At               time.Time // when it was noticed
	ConsoleURL       string    // Config.ConsoleURL; empty: no link
}

// Compose writes the e-mail for an alert. It has everything but its id and its recipients. Its times are UTC, its
// lines are wrapped, and it has no secret.
func Compose(a Alert) Message {
	subject, paragraphs := a.say()
	var b strings.Builder
	for _, p := range paragraphs {
		b.WriteString(wrap(p) + "\n\n")
	}
	b.WriteString(a.facts())
	if isLink(a.ConsoleURL) {
		b.WriteString("\nConsole: " + a.ConsoleURL + "\n")
	}
	b.WriteString("\n" + wrap("You get this e-mail because your address is an alert address of this webhook. Administrators of "+
		a.organization()+" can change that.") + "\n")
	return Message{Subject: subject, Text: b.String(), Date: a.At.UTC()}
}

// say returns the subject and what has happened, what it means, and what to do.
func (a *Alert) say() (subject string, paragraphs []string) {
	webhook := "webhook " + a.webhook()
	of := " (" + a.organization() + ")"
	switch {
	case a.Kind == KindDisabled && a.Reason == reasonGone:
		return "[Meetwire] Disabled: " + webhook + of, []string{
			"Meetwire has disabled the " + webhook + " of " + a.organization() +
				": its receiver answered 410 Gone, which says that it is there no more.",
			whatDisabledMeans,
		}
	case a.Kind == KindDisabled:
		return "[Meetwire] Disabled: " + webhook + of, []string{
			"Meetwire has disabled the " + webhook + " of " + a.organization() + ": " + a.why() + ".",
			whatDisabledMeans,
		}
	case a.Kind == KindHalfOfThreshold:
		return "[Meetwire] Still failing: " + webhook + of, []string{
			"The " + webhook + " of " + a.organization() + " still fails: " + a.why() +
				". That is half of what disables it." + a.limit(),
			whatFailingMeans,
		}
	default:
		return "[Meetwire] Failing: " + webhook + of, []string{
			"The " + webhook + " of " + a.organization() + " fails: " + a.why() + "." + a.limit(),
			whatFailingMeans,
		}
	}
}

const (
	whatFailingMeans = "Meetwire tries each delivery again until its retries are used up, and then keeps it as a dead letter, which " +
		"can be replayed for a limited time. All that is needed is a receiver that works again."
	whatDisabledMeans = "No more requests are sent to it. Deliveries that were waiting, and those of new events, are kept as dead " +
		"letters for a limited time. When the receiver works again, enable the webhook and replay its dead letters."
)

// why says how it fails.
func (a *Alert) why() string {
	switch {
	case a.Reason == reasonWithoutSuccess && !a.Since.IsZero():
		return "there was no success since " + utc(a.Since)
	case a.Failures > 1:
		return fmt.Sprintf("%d attempts in a row have failed", a.Failures)
	default:
		return "its attempts fail"
	}
}

// limit says when it is disabled, if that is known.
func (a *Alert) limit() string {
	if threshold := clean(a.Threshold); threshold != "" {
		return " It is disabled " + threshold + "."
	}
	return ""
}

// facts returns what is known, a line each.
func (a *Alert) facts() string {
	var b strings.Builder
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-19s %s\n", label+":", value)
		}
	}
	line("Webhook", truncate(clean(a.WebhookResource), lineWidth*2))
	line("Receiver", receiver(a.TargetURL))
	if a.Failures > 0 {
		line("Failures in a row", fmt.Sprint(a.Failures))
	}
	if !a.Since.IsZero() {
		line("Failing since", utc(a.Since))
	}
	line("Last error", a.lastError())
	line("Time", utc(a.At))
	return b.String()
}

// lastError puts a class of errors into words.
func (a *Alert) lastError() string {
	switch class := clean(a.LastErrorClass); {
	case class == "status" && a.LastStatus != 0, class == "" && a.LastStatus != 0:
		return fmt.Sprintf("the receiver answered with HTTP status %d", a.LastStatus)
	case class == "timeout":
		return "no complete answer in time (timeout)"
	case class == "dns":
		return "the host name has no address (dns)"
	case class == "connect":
		return "no connection (connect)"
	case class == "tls":
		return "TLS handshake or certificate (tls)"
	case class == "address":
		return "the address is not allowed (address)"
	case class == "reset":
		return "the connection was closed before an answer (reset)"
	case class == "protocol":
		return "the answer is not HTTP (protocol)"
	case class == "render":
		return "the request could not be made (render)"
	default:
		return truncate(class, maxName)
	}
}

// webhook returns what a webhook is called, in quotes.
func (a *Alert) webhook() string {
	name := clean(a.WebhookName)
	if name == "" {
		name = clean(a.WebhookResource)
	}
	return `"` + truncate(name, maxName) + `"`
}

func (a *Alert) organization() string {
	name := clean(a.OrganizationName)
	if name == "" {
		name = clean(a.Organization)
	}
	return truncate(name, maxName)
}

// receiver returns scheme and host of a URL. Paths and queries of webhooks are often credentials.
func receiver(target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return ""
	}
	return truncate(clean(u.Scheme+"://"+u.Host), lineWidth*2)
}

// utc formats a time to the second.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// DescribeThreshold says when a webhook is disabled, for Alert.Threshold. A condition of zero is none; without any
// it returns nothing.
func DescribeThreshold(consecutiveFailures int32, withoutSuccess time.Duration) string {
	var conditions []string
	if consecutiveFailures > 0 {
		conditions = append(conditions, fmt.Sprintf("after %d failed attempts in a row", consecutiveFailures))
	}
	if withoutSuccess > 0 {
		conditions = append(conditions, "when there is no success for "+duration(withoutSuccess))
	}
	return strings.Join(conditions, " or ")
}

// duration says a duration in the greatest units that it is a multiple of.
func duration(d time.Duration) string {
	unit := func(n int64, name string) string {
		if n == 1 {
			return "1 " + name
		}
		return fmt.Sprintf("%d %ss", n, name)
	}
	const day = 24 * time.Hour
	switch {
	case d%day == 0:
		return unit(int64(d/day), "day")
	case d%time.Hour == 0:
		return unit(int64(d/time.Hour), "hour")
	case d%time.Minute == 0:
		return unit(int64(d/time.Minute), "minute")
	default:
		return d.String()
	}
}
