package phones

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// message is what a client has received, as it shows it.
type message struct {
	from string // URI
	kind string // Content-Type; empty: the client does not say
	text string
}

// client is a user agent that somebody else wrote. Its methods are for one goroutine.
type client interface {
	// online registers the client and offline unregisters it.
	online(ctx context.Context) error
	offline(ctx context.Context) error
	// registrations counts the times that a REGISTER for it was accepted.
	registrations() int
	// say sends text to a SIP URI and reports whether it was accepted.
	say(ctx context.Context, uri, text string) (bool, error)
	// received are all messages so far, and a channel that is closed when there may
	// be more.
	received() ([]message, <-chan struct{})
	// stop ends the client; it may be called twice.
	stop() error
}

// phone is a client in the hands of a user.
type phone struct {
	client
	t    *testing.T
	user string
	seen int // messages that wait and none have passed over
}

// hand gives a client to a user and takes it online.
func hand(t *testing.T, user string, c client) *phone {
	t.Helper()
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	})
	p := &phone{client: c, t: t, user: user}
	p.register()
	return p
}

func (p *phone) register() {
	p.t.Helper()
	if err := p.online(kit.Within(p.t, 20*time.Second)); err != nil {
		p.t.Fatalf("%s goes online: %v", p.user, err)
	}
}

func (p *phone) unregister() {
	p.t.Helper()
	if err := p.offline(kit.Within(p.t, 20*time.Second)); err != nil {
		p.t.Fatalf("%s goes offline: %v", p.user, err)
	}
}

// says sends a text that must be accepted.
func (p *phone) says(uri, text string) {
	p.t.Helper()
	ok, err := p.say(kit.Within(p.t, 20*time.Second), uri, text)
	if err != nil || !ok {
		p.t.Fatalf("%s says %q to %s: accepted %v, %v", p.user, text, uri, ok, err)
	}
}

// tries sends a text that must be refused.
func (p *phone) tries(uri, text string) {
	p.t.Helper()
	ok, err := p.say(kit.Within(p.t, 20*time.Second), uri, text)
	if err != nil || ok {
		p.t.Fatalf("%s says %q to %s: accepted %v, %v", p.user, text, uri, ok, err)
	}
}

// gets waits for the next messages, which must have these texts in this order. A text
// that ends with "…" stands for all that begin so.
func (p *phone) gets(uri string, texts ...string) {
	p.t.Helper()
	p.getsWithin(10*time.Second, uri, texts...)
}

func (p *phone) getsWithin(d time.Duration, uri string, texts ...string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), d)
	defer cancel()
	for {
		news, change := p.texts()
		news = news[min(p.seen, len(news)):]
		if problem := compare(news, uri, texts); problem == "" {
			p.seen += len(texts)
			return
		} else if len(news) > len(texts) {
			p.t.Fatalf("%s: %s", p.user, problem)
		}
		select {
		case <-change:
		case <-ctx.Done():
			p.t.Fatalf("%s after %v: %s", p.user, d, compare(news, uri, texts))
		}
	}
}

// next waits for one message, and returns its text.
func (p *phone) next(uri string) string {
	p.t.Helper()
	p.gets(uri, "…")
	all, _ := p.texts()
	return all[p.seen-1].text
}

// texts are the messages that are text.
func (p *phone) texts() ([]message, <-chan struct{}) {
	all, change := p.received()
	other := func(m message) bool { return m.kind != "" && !strings.HasPrefix(m.kind, "text/") }
	return slices.DeleteFunc(all, other), change
}

// compare is empty if the messages are those texts from uri.
func compare(got []message, uri string, want []string) string {
	same := len(got) >= len(want)
	for i := 0; same && i < len(want); i++ {
		begin, open := strings.CutSuffix(want[i], "…")
		same = got[i].from == uri && (got[i].text == want[i] || open && strings.HasPrefix(got[i].text, begin))
	}
	if same {
		return ""
	}
	return fmt.Sprintf("got %q, want %q from %s", got, want, uri)
}

// until waits for a text, and returns all that came before it since the last that was
// expected.
func (p *phone) until(uri, text string) []message {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	for {
		all, change := p.texts()
		news := all[min(p.seen, len(all)):]
		for i, m := range news {
			if m.from == uri && m.text == text {
				p.seen += i + 1
				return news[:i]
			}
		}
		select {
		case <-change:
		case <-ctx.Done():
			p.t.Fatalf("%s waits for %q, got %q", p.user, text, news)
		}
	}
}

// registersAgain waits until the client has registered once more by itself.
func (p *phone) registersAgain(before int) {
	p.t.Helper()
	ctx := kit.Within(p.t, 20*time.Second)
	for {
		_, change := p.received()
		if p.registrations() > before {
			return
		}
		select {
		case <-change:
		case <-time.After(20 * time.Millisecond): // linphonec's log is another stream
		case <-ctx.Done():
			p.t.Fatalf("%s does not register again", p.user)
		}
	}
}
