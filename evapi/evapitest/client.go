package evapitest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// t2 is the longest time between two retransmissions (RFC 3261, 17.1.2.1).
const t2 = 4 * time.Second

// clientTx is a request that waits for its responses.
type clientTx struct {
	responses chan *sip.Response // space for more than a proxy sends
}

// branchPattern finds the topmost branch of a request given as bytes.
var branchPattern = regexp.MustCompile(`(?i)branch=([^;,\s]+)`)

// Do sends a request, answers a digest challenge if the UA has a password, and
// returns the final response; 408 with the reason "No answer" if there was none.
// The error is ctx's, or that of the socket.
func (u *UA) Do(ctx context.Context, r Request) (*sip.Response, error) {
	u.fillRequest(&r)
	// Via names the connection.
	if err := u.link.connect(); err != nil {
		return nil, fmt.Errorf("send %s: %w", r.Method, err)
	}
	tag := tagOf(r.CallID)
	branch := "z9hG4bK" + newToken()
	res, err := u.transact(ctx, r.Method, branch, u.render(&r, branch, tag, ""))
	if err != nil || u.cfg.Password == "" || (res.StatusCode != 401 && res.StatusCode != 407) {
		return res, err
	}
	authorization, err := u.authorize(&r, res)
	if err != nil {
		return nil, err
	}
	r.CSeq++
	branch = "z9hG4bK" + newToken()
	return u.transact(ctx, r.Method, branch, u.render(&r, branch, tag, authorization))
}

// tagOf is the tag of From: whoever repeats a request keeps that, too.
func tagOf(callID string) string {
	h := fnv.New64a()
	h.Write([]byte(callID)) // never fails
	return strconv.FormatUint(h.Sum64(), 36)
}

// Raw sends bytes as they are and returns the final response to the topmost
// branch in them, like Do.
func (u *UA) Raw(ctx context.Context, data []byte) (*sip.Response, error) {
	m := branchPattern.FindSubmatch(data)
	if m == nil {
		return nil, errors.New("evapitest: no branch in the raw request")
	}
	return u.transact(ctx, "", string(m[1]), data)
}

// SendRaw sends bytes as they are and expects no answer.
func (u *UA) SendRaw(data []byte) error { return u.link.send(data) }

func (u *UA) authorize(r *Request, res *sip.Response) (string, error) {
	challenge, name := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		challenge, name = "Proxy-Authenticate", "Proxy-Authorization"
	}
	h := res.GetHeader(challenge)
	if h == nil {
		return "", fmt.Errorf("evapitest: %d without %s", res.StatusCode, challenge)
	}
	chal, err := digest.ParseChallenge(h.Value())
	if err != nil {
		return "", fmt.Errorf("evapitest: %s: %w", challenge, err)
	}
	cred, err := digest.Digest(chal, digest.Options{
		Method:   r.Method,
		URI:      r.URI,
		Username: u.cfg.AuthUser,
		Password: u.cfg.Password,
		Count:    1,
	})
	if err != nil {
		return "", fmt.Errorf("evapitest: answer to %s: %w", challenge, err)
	}
	return name + ": " + cred.String(), nil
}

// transact sends data and waits for the final response with that branch,
// retransmitting over UDP.
func (u *UA) transact(ctx context.Context, method, branch string, data []byte) (*sip.Response, error) {
	tx := &clientTx{responses: make(chan *sip.Response, 16)}
	u.mu.Lock()
	u.pending[branch] = tx
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		delete(u.pending, branch)
		u.mu.Unlock()
	}()
	if err := u.link.send(data); err != nil {
		return nil, fmt.Errorf("send %s: %w", method, err)
	}
	u.trace(">", data)
	return u.await(ctx, tx, data)
}

func (u *UA) await(ctx context.Context, tx *clientTx, data []byte) (*sip.Response, error) {
	giveUp := time.NewTimer(64 * u.cfg.T1)
	defer giveUp.Stop()
	interval := u.cfg.T1
	again := time.NewTimer(interval)
	defer again.Stop()
	if u.link.reliable() {
		again.Stop()
	}
	for {
		select {
		case res := <-tx.responses:
			if !res.IsProvisional() {
				return res, nil
			}
			interval = t2
		case <-again.C:
			if err := u.link.send(data); err != nil {
				return nil, fmt.Errorf("retransmit: %w", err)
			}
			interval = min(2*interval, t2)
			again.Reset(interval)
		case <-giveUp.C:
			return sip.NewResponse(408, "No answer"), nil
		case <-u.link.closed():
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// response hands a response to the request that waits for it. Called by the
// link's reader.
func (u *UA) response(res *sip.Response) {
	via := res.Via()
	if via == nil {
		return
	}
	branch, _ := via.Params.Get("branch")
	u.mu.Lock()
	tx := u.pending[branch]
	u.mu.Unlock()
	if tx == nil {
		return
	}
	select {
	case tx.responses <- res:
	default: // a flood of provisional responses
	}
}
