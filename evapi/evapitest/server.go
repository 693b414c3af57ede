package evapitest

import (
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
)

// servedMax bounds the requests that are remembered for their retransmissions.
const servedMax = 8192

// served is a request that was taken, with the answer that it got.
type served struct {
	answer []byte // nil: silence
}

// receive takes a message from the link. Called by the link's reader.
func (u *UA) receive(data []byte) {
	<-u.open
	u.trace("<", data)
	msg, err := sip.NewParser().ParseSIP(data)
	if err != nil {
		u.trace("!", []byte(err.Error()))
		return
	}
	switch m := msg.(type) {
	case *sip.Response:
		u.response(m)
	case *sip.Request:
		u.request(m)
	}
}

// request answers a request and keeps it. A retransmission gets the same answer
// and is not kept.
func (u *UA) request(req *sip.Request) {
	via, callID, cseq := req.Via(), req.CallID(), req.CSeq()
	if via == nil || callID == nil || cseq == nil || req.Method == sip.ACK {
		return
	}
	branch, _ := via.Params.Get("branch")
	key := fmt.Sprintf("%s %s %s %d", branch, req.Method, callID.Value(), cseq.SeqNo)
	u.mu.Lock()
	old, again := u.served[key]
	answer := u.answer
	u.mu.Unlock()
	if again {
		u.send(old.answer)
		return
	}
	reply := Reply{Code: 200}
	if answer != nil {
		reply = answer(req)
	}
	if !u.inbox.add(newReceived(req, time.Now())) {
		reply = Reply{Code: 503, Reason: "Inbox full"}
	}
	data := render(req, reply)
	u.remember(key, &served{answer: data})
	u.send(data)
}

func (u *UA) remember(key string, s *served) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.served[key] = s
	u.order = append(u.order, key)
	if len(u.order) > servedMax {
		delete(u.served, u.order[0])
		u.order = u.order[1:]
	}
}

// send sends an answer. If that fails, the other side will ask again.
func (u *UA) send(data []byte) {
	if data == nil {
		return
	}
	if err := u.link.send(data); err == nil {
		u.trace(">", data)
	}
}

// render is the response as it goes over the wire; nil for silence.
func render(req *sip.Request, reply Reply) []byte {
	if reply.Code == 0 {
		return nil
	}
	reason := reply.Reason
	orString(&reason, reasonOf(reply.Code))
	res := sip.NewResponseFromRequest(req, reply.Code, reason, nil)
	for _, h := range reply.Headers {
		res.AppendHeader(h)
	}
	return []byte(res.String())
}

func reasonOf(code int) string {
	switch code {
	case 200:
		return "OK"
	case 404:
		return "Not Found"
	case 413:
		return "Request Entity Too Large"
	case 480:
		return "Temporarily Unavailable"
	case 486:
		return "Busy Here"
	case 503:
		return "Service Unavailable"
	default:
		return "Answer"
	}
}

// trace logs a message. Writers of logs are expected to be safe for concurrent
// use, as zerolog's and the testing package's are.
func (u *UA) trace(dir string, data []byte) {
	if u.cfg.Log != nil {
		_, _ = fmt.Fprintf(u.cfg.Log, "%s %s %s\n", u.cfg.User, dir, data)
	}
}
