package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

// browserWait is how long the page may take to show something.
const browserWait = time.Minute

// browserPoll is how often the page is looked at.
const browserPoll = 50 * time.Millisecond

// browser is a page in a headless Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context // of the page

	mu       sync.Mutex
	problems []string // exceptions and what the page's policy forbade; guarded by mu
}

// openConsole opens the console of s.
func openConsole(t *testing.T, s *stack.Stack) *browser {
	t.Helper()
	// In a container there is often no right to make a sandbox. The page is our own.
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, stop := chromedp.NewContext(alloc)
	b := &browser{t: t, ctx: ctx}
	t.Cleanup(func() {
		// It waits for Chromium to end, and kills it at the deadline.
		ctx, cancel := context.WithTimeout(ctx, kit.Patience)
		defer cancel()
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("closing the browser: %v", err)
		}
		stop()
		stopAlloc()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			t.Errorf("the page: %s", p)
		}
	})
	// The first action starts the browser, which ends with its context: it must
	// not be one that ends with a single step.
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	b.do(chromedp.Navigate("http://" + s.HTTPAddr() + "/"))
	return b
}

func (b *browser) listen(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, fmt.Sprintf("%+v", ev.ExceptionDetails))
	case *cdplog.EventEntryAdded:
		// That imcd is away while it is restarted is no problem of the page.
		if ev.Entry.Level == cdplog.EntryLevelError && ev.Entry.Source != cdplog.EntrySourceNetwork &&
			!strings.Contains(ev.Entry.Text, "WebSocket") {
			b.problems = append(b.problems, fmt.Sprintf("%s: %s", ev.Entry.Source, ev.Entry.Text))
		}
	}
}

// do does something in the page.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserWait)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatalf("%v; %s", err, b.text())
	}
}

// is evaluates an expression of JavaScript.
func (b *browser) is(expression string) bool {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserWait)
	defer cancel()
	ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return ok
}

// text is what the page shows.
func (b *browser) text() string {
	ctx, cancel := context.WithTimeout(b.ctx, browserWait)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	return fmt.Sprintf("the page shows (%v):\n%s", err, text)
}

// sees waits until an expression is true. It asks from outside: the page's policy
// forbids to wait inside.
func (b *browser) sees(format string, args ...any) {
	b.t.Helper()
	expression := fmt.Sprintf(format, args...)
	deadline := time.Now().Add(browserWait)
	for !b.is(expression) {
		if time.Now().After(deadline) {
			b.t.Fatalf("never so: %s; %s", expression, b.text())
		}
		<-time.After(browserPoll)
	}
}

func (b *browser) live() {
	b.t.Helper()
	b.sees(`document.getElementById("link").textContent === "live"`)
}

// must checks an expression now.
func (b *browser) must(expression string) {
	b.t.Helper()
	if !b.is(expression) {
		b.t.Errorf("not so: %s; %s", expression, b.text())
	}
}
