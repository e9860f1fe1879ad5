package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

const (
	// linePeriod is how long at least lies between two lines of progress where there is no terminal.
	linePeriod = 5 * time.Second
	// barWidth is the width of a bar, in characters.
	barWidth = 30
	// maxTrouble is how much is shown of what an operation has met with, in characters.
	maxTrouble = 60
)

// progress shows how far an operation is, on the stream for errors, so that answers stay readable by programs: a bar that
// is drawn again on a terminal, lines elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	now      func() time.Time

	bar   *progressbar.ProgressBar
	total int64 // of the bar
	began time.Time
	from  int64 // what was done when it began
	line  time.Time
}

func (s *Session) newProgress() *progress {
	file, ok := s.terminal.Err.(*os.File)
	return &progress{out: s.terminal.Err, terminal: ok && term.IsTerminal(int(file.Fd())), now: time.Now}
}

// show shows an operation that is under way.
func (p *progress) show(o *operationv1.Operation) error {
	now := p.now()
	if p.began.IsZero() {
		p.began, p.from = now, o.GetProcessedCount()
	}
	if p.terminal {
		return p.draw(o)
	}
	if !p.line.IsZero() && now.Sub(p.line) < linePeriod {
		return nil
	}
	p.line = now
	return p.write(o)
}

// end shows an operation that has ended.
func (p *progress) end(o *operationv1.Operation) error {
	if p.terminal {
		if p.bar != nil {
			if err := p.draw(o); err != nil {
				return err
			}
		}
		return p.finish()
	}
	if p.line.IsZero() {
		return nil // there was nothing to wait for
	}
	return p.write(o)
}

// finish leaves the line of the bar.
func (p *progress) finish() error {
	if p.bar == nil {
		return nil
	}
	p.bar = nil
	if _, err := fmt.Fprintln(p.out); err != nil {
		return fmt.Errorf("write the progress: %w", err)
	}
	return nil
}

// abandon leaves the line of the bar because of an error.
func (p *progress) abandon(err error) error {
	if left := p.finish(); left != nil {
		return errors.Join(err, left)
	}
	return err
}

// draw draws the bar again.
func (p *progress) draw(o *operationv1.Operation) error {
	total := o.GetTotalCount()
	if p.bar == nil || total != p.total {
		p.bar, p.total = newBar(p.out, total), total
	}
	p.bar.Describe(describe(o))
	done := o.GetProcessedCount()
	if total > 0 {
		done = min(done, total)
	}
	if err := p.bar.Set64(done); err != nil {
		return fmt.Errorf("write the progress: %w", err)
	}
	return nil
}

// newBar returns a bar, with an estimate of the time that is left; with no total known, one that only moves.
func newBar(out io.Writer, total int64) *progressbar.ProgressBar {
	if total <= 0 {
		total = -1
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetWidth(barWidth),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetSpinnerChangeInterval(0), // nothing goes on beside
		progressbar.OptionSetRenderBlankState(false),
	)
}

// write writes a line.
func (p *progress) write(o *operationv1.Operation) error {
	parts := []string{describe(o) + ": " + counts(o)}
	if left := p.left(o); left > 0 {
		parts = append(parts, "about "+left.String()+" left")
	}
	if _, err := fmt.Fprintln(p.out, strings.Join(parts, ", ")); err != nil {
		return fmt.Errorf("write the progress: %w", err)
	}
	return nil
}

// left is how long the operation takes if it goes on as it did since it is watched; 0: that cannot be said.
func (p *progress) left(o *operationv1.Operation) time.Duration {
	done, rest := o.GetProcessedCount()-p.from, o.GetTotalCount()-o.GetProcessedCount()
	if done <= 0 || rest <= 0 || o.GetDone() {
		return 0
	}
	left := time.Duration(float64(p.now().Sub(p.began)) / float64(done) * float64(rest))
	return max(left.Round(time.Second), time.Second)
}

// describe says what an operation does, and what it has met with.
func describe(o *operationv1.Operation) string {
	text := printable(o.GetType())
	if o.GetDryRun() {
		text += " (dry run)"
	}
	if reason := o.GetError().GetMessage(); reason != "" && !o.GetDone() {
		runes := []rune(printable(reason))
		text += " (" + string(runes[:min(len(runes), maxTrouble)]) + ")"
	}
	return text
}

// counts says how far an operation is.
func counts(o *operationv1.Operation) string {
	text := fmt.Sprintf("%d", o.GetProcessedCount())
	if total := o.GetTotalCount(); total > 0 {
		text = fmt.Sprintf("%d of %d (%d %%)", o.GetProcessedCount(), total, min(o.GetProcessedCount()*100/total, 100))
	}
	for _, part := range []struct {
		count int64
		name  string
	}{{o.GetAffectedCount(), "affected"}, {o.GetSkippedCount(), "skipped"}, {o.GetRepeatCount(), "may be repeated"}} {
		if part.count > 0 {
			text += fmt.Sprintf(", %d %s", part.count, part.name)
		}
	}
	return text
}
