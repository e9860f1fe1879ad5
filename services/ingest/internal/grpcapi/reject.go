package grpcapi

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/audit"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

const (
	// rejectBatch is how many rejects are read at once.
	rejectBatch = 100
	// maxRejectsRead is how many are looked at for one page: what a filter leaves out costs something, too.
	maxRejectsRead = 5000
)

// RejectStore is the stream REJECTS.
type RejectStore interface {
	// Reject returns one reject of an organization: fault.NotFound, fault.Unavailable.
	Reject(ctx context.Context, organization string, sequence uint64) (core.Reject, error)
	// Rejects returns up to size of them, the oldest first, from a sequence on; none when there are no more.
	Rejects(ctx context.Context, organization string, from uint64, size int) ([]core.Reject, error)
	// Resubmit publishes an event in the place of a reject and returns its sequence in EVENTS. It can be repeated.
	Resubmit(ctx context.Context, reject *core.Reject, event *core.Event) (uint64, error)
}

// Auditor notes what somebody is about to do.
type Auditor interface {
	Record(ctx context.Context, action audit.Action) error
}

// Rejects implements RejectService.
type Rejects struct {
	ingestv1.UnimplementedRejectServiceServer

	Store      RejectStore
	Publishing *Publishing // checks and makes room
	Audit      Auditor
}

// GetReject implements RejectService.
func (r *Rejects) GetReject(ctx context.Context, request *ingestv1.GetRejectRequest) (*ingestv1.Reject, error) {
	reject, err := r.get(ctx, request.GetName())
	if err != nil {
		return nil, err
	}
	answer := rejectOf(&reject)
	answer.Body = reject.Body
	if _, err := reject.Document(); err != nil {
		answer.Headers = make(map[string]string, len(reject.Header))
		for name, values := range reject.Header {
			answer.Headers[printable(name)] = printable(strings.Join(values, ", "))
		}
	}
	return answer, nil
}

// get reads a reject by its name.
func (r *Rejects) get(ctx context.Context, name string) (core.Reject, error) {
	ids, err := aip.ParseName(name, "organizations/{organization}/rejects/{reject}")
	if err != nil {
		return core.Reject{}, err
	}
	organization, err := organizationName("name", "organizations/"+ids[0])
	if err != nil {
		return core.Reject{}, err
	}
	sequence, err := strconv.ParseUint(ids[1], 10, 63)
	if err != nil || sequence == 0 {
		return core.Reject{}, invalidName("name", "must have the sequence of a reject, a number from 1 to 9223372036854775807")
	}
	if !r.Publishing.Catalogue.HasOrganization(organization) {
		return core.Reject{}, core.UnknownOrganization(organization)
	}
	return r.Store.Reject(ctx, organization, sequence)
}

// rejectCursor is where a list goes on.
type rejectCursor struct {
	From uint64 `json:"from"`
}

// ListRejects implements RejectService.
func (r *Rejects) ListRejects(ctx context.Context, request *ingestv1.ListRejectsRequest) (*ingestv1.ListRejectsResponse, error) {
	organization, err := organizationName("parent", request.GetParent())
	if err != nil {
		return nil, err
	}
	terms, stored, err := aip.ParseTimeFilter(request.GetFilter(), "reject_time", "rule", "subject")
	if err != nil {
		return nil, err
	}
	at := rejectCursor{From: 1}
	if err := aip.DecodeToken(request, request.GetPageToken(), &at); err != nil {
		return nil, err
	}
	if !r.Publishing.Catalogue.HasOrganization(organization) {
		return nil, core.UnknownOrganization(organization)
	}
	list := rejectList{store: r.Store, organization: organization, terms: terms, stored: stored, from: max(at.From, 1)}
	more, err := list.read(ctx, aip.PageSize(request.GetPageSize()))
	if err != nil {
		return nil, err
	}
	response := &ingestv1.ListRejectsResponse{Rejects: list.page}
	if more {
		response.NextPageToken, err = aip.EncodeToken(request, rejectCursor{From: list.from})
	}
	return response, err
}

// rejectList is a page that is being filled.
type rejectList struct {
	store        RejectStore
	organization string
	terms        map[string]string
	stored       aip.TimeRange
	from         uint64 // sequence from which on to read
	page         []*ingestv1.Reject
}

// read fills the page. It reports whether there may be more.
func (l *rejectList) read(ctx context.Context, size int) (more bool, err error) {
	for looked := 0; looked < maxRejectsRead; {
		batch, err := l.store.Rejects(ctx, l.organization, l.from, rejectBatch)
		if err != nil || len(batch) == 0 {
			return false, err
		}
		for i := range batch {
			if !l.stored.Before.IsZero() && !batch[i].Rejected.Before(l.stored.Before) {
				return false, nil // they are in the order of time
			}
			l.from = batch[i].Sequence + 1
			if l.admits(&batch[i]) {
				l.page = append(l.page, rejectOf(&batch[i]))
			}
			if len(l.page) == size {
				return true, nil
			}
		}
		looked += len(batch)
	}
	return true, nil
}

// admits reports whether a reject is one that was asked for.
func (l *rejectList) admits(reject *core.Reject) bool {
	rule, byRule := l.terms["rule"]
	subject, bySubject := l.terms["subject"]
	return (!byRule || rule == reject.Rule) && (!bySubject || subject == reject.Subject) && !reject.Rejected.Before(l.stored.From)
}

// ResubmitReject implements RejectService.
func (r *Rejects) ResubmitReject(ctx context.Context, request *ingestv1.ResubmitRejectRequest) (*ingestv1.ResubmitRejectResponse, error) {
	reject, err := r.get(ctx, request.GetName())
	if err != nil {
		return nil, err
	}
	document := []byte(request.GetEvent())
	if request.GetEvent() == "" {
		if document, err = reject.Document(); err != nil {
			return nil, err
		}
	}
	event, err := r.Publishing.check(reject.Organization, document)
	if err != nil || request.GetValidateOnly() {
		return &ingestv1.ResubmitRejectResponse{}, err
	}
	leave, err := r.Publishing.Waiting.enter(len(event.Raw))
	if err != nil {
		return nil, err
	}
	defer leave()
	err = r.Audit.Record(ctx, audit.Action{
		Organization: reject.Organization, Action: audit.Resubmit, Resource: request.GetName(),
		Details: map[string]any{
			"rule": reject.Rule, "corrected": request.GetEvent() != "", "trigger": event.Type, "source": event.Source, "id": event.ID,
		},
	})
	if err != nil {
		return nil, err
	}
	sequence, err := r.Store.Resubmit(ctx, &reject, event)
	if err != nil {
		return nil, later(err)
	}
	return &ingestv1.ResubmitRejectResponse{Event: nameOfEvent(reject.Organization, sequence)}, nil
}

// rejectOf describes a reject without what was published.
func rejectOf(reject *core.Reject) *ingestv1.Reject {
	return &ingestv1.Reject{
		Name:          "organizations/" + reject.Organization + "/rejects/" + strconv.FormatUint(reject.Sequence, 10),
		Subject:       printable(reject.Subject),
		EventSequence: int64(reject.EventSequence), //nolint:gosec // G115: a sequence of JetStream
		AcceptTime:    timeOrNil(reject.Accepted),
		RejectTime:    timestamppb.New(reject.Rejected),
		Rule:          printable(reject.Rule),
		Pointer:       printable(reject.Pointer),
		Detail:        printable(reject.Detail),
		SizeBytes:     int64(len(reject.Body)),
	}
}

// printable makes what a publisher has written fit for a text.
func printable(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
