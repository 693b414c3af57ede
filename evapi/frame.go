package evapi

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	uacStart  = `{"jsonrpc":"2.0","method":"tm.t_uac_start","params":["MESSAGE","`
	imcSend   = `{"jsonrpc":"2.0","method":"imc.send","params":["`
	imcBatch  = `{"jsonrpc":"2.0","method":"imc.batch","params":["`
	imcReply  = `{"jsonrpc":"2.0","method":"imc.reply","params":["`
	imcLink   = `{"jsonrpc":"2.0","method":"imc.link","params":["`
	imcAnswer = `{"jsonrpc":"2.0","method":"imc.answer","params":["`
	imcLook   = `{"jsonrpc":"2.0","method":"imc.look","params":[""]}`
	imcPing   = `{"jsonrpc":"2.0","method":"imc.ping","params":["`
	paramSep  = `","`
	paramsEnd = `"]}`
	idDigits  = 10 // of the largest frame id

	// pingSize is kept free in every window for its ping, and in the read buffer of
	// Kamailio (MaxFrame) for bytes that a kernel may push early.
	pingSize = 128
	// maxPayload is the largest payload that is written, so that a frame and the ping
	// after it always fit one read of Kamailio together.
	maxPayload = MaxFrame - pingSize
	// netstringOverhead is the number of bytes that a netstring adds to a payload, at most.
	netstringOverhead = 7

	// maxReason and maxUnsupported keep a reply small, in bytes.
	maxReason      = 128
	maxUnsupported = 256
	maxReplyLines  = 1024
)

// appendReply appends the payload of imc.reply.
func appendReply(dst []byte, tx TxID, a Answer) ([]byte, error) {
	if a.Code < 200 || a.Code > 699 {
		return nil, fmt.Errorf("evapi: reply: code %d is no final SIP status", a.Code)
	}
	reason := strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, a.Reason)
	reason = cut(reason, maxReason)
	retry := min((a.RetryAfter+time.Second-1)/time.Second, math.MaxInt32)
	dst = append(dst, imcReply...)
	// The script's s.int reads signed 32 bits only.
	index, label := int64(int32(tx.Index)), int64(int32(tx.Label))
	for _, n := range []int64{index, label, int64(a.Code), int64(a.RC), max(int64(retry), 0)} {
		dst = strconv.AppendInt(dst, n, 10)
		dst = append(dst, paramSep...)
	}
	dst = base64.StdEncoding.AppendEncode(dst, []byte(reason))
	lines, err := replyLines(&a)
	if err != nil {
		return nil, err
	}
	if len(lines) > 0 {
		dst = append(dst, paramSep...)
		dst = base64.StdEncoding.AppendEncode(dst, lines)
	}
	return append(dst, paramsEnd...), nil
}

// replyLines are the header lines of an answer, each with its CRLF.
func replyLines(a *Answer) (lines []byte, err error) {
	if n := len(a.Unsupported); n > maxUnsupported {
		return nil, fmt.Errorf("%w: Unsupported has %d bytes, limit is %d", ErrTooLarge, n, maxUnsupported)
	}
	if n := len(a.Headers); n > maxReplyLines {
		return nil, fmt.Errorf("%w: headers of a reply have %d bytes, limit is %d", ErrTooLarge, n, maxReplyLines)
	}
	if a.Unsupported != "" {
		if err := checkValue("Unsupported", a.Unsupported); err != nil {
			return nil, err
		}
		lines = append(lines, "Unsupported: "+a.Unsupported+"\r\n"...)
	}
	for rest := a.Headers; rest != ""; {
		line, after, ended := strings.Cut(rest, "\r\n")
		name, value, ok := strings.Cut(line, ": ")
		if !ended || !ok || !isToken(name) || isReserved(name) || isOfRoute(name) {
			return nil, fmt.Errorf("evapi: reply: header %.64q: not to be set here", line)
		}
		if err := checkValue(name, value); err != nil {
			return nil, err
		}
		rest = after
	}
	return append(lines, a.Headers...), nil
}

// isOfRoute reports whether the header is one of the way of a request.
func isOfRoute(name string) bool {
	return strings.EqualFold(name, "Route") || strings.EqualFold(name, "Record-Route") || strings.EqualFold(name, "Path")
}

// appendAnswer appends the payload of imc.answer.
func appendAnswer(dst []byte, tag string, json []byte) ([]byte, error) {
	if !isToken(tag) || len(tag) > 64 {
		return nil, fmt.Errorf("evapi: answer: tag %.64q is no token of at most 64 bytes", tag)
	}
	dst = append(dst, imcAnswer...)
	dst = append(dst, tag...)
	dst = append(dst, paramSep...)
	dst = base64.StdEncoding.AppendEncode(dst, json)
	dst = append(dst, paramsEnd...)
	if n := len(dst); n > maxPayload {
		return nil, fmt.Errorf("%w: answer of %d bytes takes %d, limit is %d", ErrTooLarge, len(json), n, maxPayload)
	}
	return dst, nil
}

// appendPing appends the payload of imc.ping.
func appendPing(dst []byte, id uint64) []byte {
	dst = append(dst, imcPing...)
	dst = strconv.AppendUint(dst, id, 10)
	return append(dst, paramsEnd...)
}

// appendLink appends the payload of imc.link: the address and port that copies come from by
// SIP, and the next hop that Kamailio sends them to; with an empty hop Kamailio decides.
func appendLink(dst []byte, from netip.AddrPort, hop string) []byte {
	dst = strconv.AppendUint(append(dst, imcLink...), uint64(from.Port()), 10)
	dst = append(dst, paramSep...)
	dst = base64.StdEncoding.AppendEncode(dst, []byte(hop))
	dst = append(dst, paramSep...)
	dst = from.Addr().AppendTo(dst)
	return append(dst, paramsEnd...)
}

// helloPayload is the first frame of a connection; engine may be empty.
func helloPayload(secret, engine string) []byte {
	if engine == "" {
		return []byte("hello " + secret)
	}
	return []byte("hello " + secret + " " + engine)
}

// checkSecret refuses a secret that the routing script could not compare.
func checkSecret(secret string) error {
	if secret == "" || len(secret) > 128 {
		return fmt.Errorf("evapi: secret has %d characters, not 1 to 128", len(secret))
	}
	for i := 0; i < len(secret); i++ {
		if c := secret[i]; c <= ' ' || c > '~' || strings.IndexByte(`"'\,`, c) >= 0 {
			return fmt.Errorf("evapi: secret: character %d is not allowed "+
				"(printable ASCII without space, quotes, backslash, comma)", i+1)
		}
	}
	return nil
}
