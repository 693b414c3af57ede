package evapitest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// UAConfig describes a SIP user agent.
type UAConfig struct {
	User        string // of its address of record
	Domain      string // likewise; empty: Proxy's host and port
	Proxy       string // host:port that everything is sent to
	Transport   string // "udp", "tcp", "tls" or "ws"; empty: udp
	LocalIP     string // of the socket; empty: 127.0.0.1
	DisplayName string // in From; may be empty
	// ContactParams stand behind the contact of a registration, as in `;+sip.instance="<urn:uuid:…>"`. A registrar then
	// gives it a GRUU. May be empty.
	ContactParams string
	// AnswerVia lets responses over UDP go to the address in their first Via: a Kamailio other than Proxy may have sent
	// the request. Otherwise everything goes to Proxy.
	AnswerVia bool
	AuthUser  string // digest user name; empty: User
	Password  string // empty: a challenge is the answer

	T1       time.Duration // RFC 3261 timer T1; 0: 500 ms
	TLS      *tls.Config   // of "tls"; nil: any certificate will do
	InboxMax int           // requests kept; 0: 65536. What exceeds it is answered 503
	Log      io.Writer     // gets every message sent and received; may be nil
}

// Reply is how a UA answers a request. Code 0 is silence.
type Reply struct {
	Code    int
	Reason  string // empty: the usual phrase
	Headers []sip.Header
}

// UA is a SIP user agent. It is safe for concurrent use.
type UA struct {
	cfg  UAConfig
	link link
	open chan struct{} // closed once link is set; the link's reader waits for it

	mu      sync.Mutex
	pending map[string]*clientTx         // by branch; guarded by mu
	served  map[string]*served           // by transaction; guarded by mu
	order   []string                     // of served, oldest first; guarded by mu
	answer  func(req *sip.Request) Reply // guarded by mu
	regCSeq int                          // guarded by mu

	regCallID string // of all REGISTERs; immutable
	inbox     *inbox
}

// ErrClosed is returned by the methods of a UA after Close.
var ErrClosed = errors.New("evapitest: user agent is closed")

// NewUA opens a user agent's socket. It answers requests with 200 from now on;
// it is not registered yet. The caller must call Close.
func NewUA(cfg UAConfig) (*UA, error) {
	if cfg.User == "" || cfg.Proxy == "" {
		return nil, errors.New("evapitest: a user agent needs User and Proxy")
	}
	orString(&cfg.Domain, cfg.Proxy)
	orString(&cfg.AuthUser, cfg.User)
	orString(&cfg.Transport, "udp")
	orString(&cfg.LocalIP, "127.0.0.1")
	orInt(&cfg.InboxMax, 65536)
	if cfg.T1 == 0 {
		cfg.T1 = 500 * time.Millisecond
	}
	u := &UA{
		cfg:       cfg,
		pending:   make(map[string]*clientTx),
		served:    make(map[string]*served),
		regCallID: newToken(),
		inbox:     newInbox(cfg.InboxMax),
		open:      make(chan struct{}),
	}
	var err error
	switch cfg.Transport {
	case "udp":
		u.link, err = openUDP(cfg.LocalIP, cfg.Proxy, cfg.AnswerVia, u.receive)
	case "tcp":
		u.link, err = openTCP(cfg.LocalIP, cfg.Proxy, nil, u.receive)
	case "tls":
		if cfg.TLS == nil {
			cfg.TLS = &tls.Config{InsecureSkipVerify: true}
		}
		u.link, err = openTCP(cfg.LocalIP, cfg.Proxy, cfg.TLS, u.receive)
	case "ws":
		u.link, err = openWS(cfg.LocalIP, cfg.Proxy, u.receive)
	default:
		err = fmt.Errorf("transport %q is not udp, tcp, tls or ws", cfg.Transport)
	}
	if err != nil {
		return nil, fmt.Errorf("user agent %s: %w", cfg.User, err)
	}
	close(u.open)
	return u, nil
}

// Close closes the socket and waits for the reader. It does not unregister.
func (u *UA) Close() error {
	err := u.link.close()
	u.inbox.close()
	return err
}

// AOR is the user agent's address of record, a SIP URI.
func (u *UA) AOR() string { return "sip:" + u.cfg.User + "@" + u.cfg.Domain }

// Contact is the SIP URI of the user agent's socket.
func (u *UA) Contact() string {
	uri := "sip:" + u.cfg.User + "@" + u.link.localAddr()
	if u.cfg.Transport != "udp" {
		uri += ";transport=" + u.cfg.Transport
	}
	return uri
}

// Hangup closes the connection of a user agent without a word, as when a phone has
// lost its network; the next request that it sends opens another. Over UDP it does
// nothing.
func (u *UA) Hangup() error { return u.link.hangup() }

// SetAnswer makes f decide how requests are answered from now on; nil: 200. It is
// called once for each request, not for retransmissions, and must not block.
func (u *UA) SetAnswer(f func(req *sip.Request) Reply) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = f
}

// AnswerWith makes the user agent answer every request with code from now on; 0
// is silence.
func (u *UA) AnswerWith(code int) {
	u.SetAnswer(func(*sip.Request) Reply { return Reply{Code: code} })
}

// Register binds the user agent's contact to its address of record for an hour.
func (u *UA) Register(ctx context.Context) error { return u.register(ctx, 3600) }

// Unregister removes the binding.
func (u *UA) Unregister(ctx context.Context) error { return u.register(ctx, 0) }

func (u *UA) register(ctx context.Context, expires int) error {
	// The contact is that of the connection.
	if err := u.link.connect(); err != nil {
		return fmt.Errorf("register %s: %w", u.AOR(), err)
	}
	u.mu.Lock()
	u.regCSeq += 2 // one may be used up by a challenge
	cseq := u.regCSeq
	u.mu.Unlock()
	headers := []string{"Contact: <" + u.Contact() + ">" + u.cfg.ContactParams, fmt.Sprintf("Expires: %d", expires)}
	if u.cfg.ContactParams != "" {
		headers = append(headers, "Supported: gruu")
	}
	res, err := u.Do(ctx, Request{
		Method:  "REGISTER",
		URI:     "sip:" + u.cfg.Domain,
		To:      u.AOR(),
		CallID:  u.regCallID,
		CSeq:    cseq,
		Headers: headers,
	})
	if err != nil {
		return fmt.Errorf("register %s: %w", u.AOR(), err)
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("register %s: %d %s", u.AOR(), res.StatusCode, res.Reason)
	}
	return nil
}

// Message sends a MESSAGE to the URI and returns its final response. Headers are
// whole lines without line end, as in "Subject: x". A request that nobody answers
// gets a response of its own, 408.
func (u *UA) Message(ctx context.Context, uri, contentType string, body []byte, headers ...string) (*sip.Response,
	error) {
	return u.Do(ctx, Request{
		Method:      "MESSAGE",
		URI:         uri,
		ContentType: contentType,
		Body:        body,
		Headers:     headers,
	})
}

// Say sends a text/plain MESSAGE.
func (u *UA) Say(ctx context.Context, uri, text string) (*sip.Response, error) {
	return u.Message(ctx, uri, "text/plain", []byte(text))
}

// Options sends OPTIONS to the URI.
func (u *UA) Options(ctx context.Context, uri string) (*sip.Response, error) {
	return u.Do(ctx, Request{Method: "OPTIONS", URI: uri})
}

// newToken returns a random word for tags, branches and Call-IDs.
func newToken() string { return strings.ToLower(rand.Text()) }
