package rpc

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/engine"
	"imcd/evapi/jsonrpc"
)

// checkTimeout bounds a check of the ways through Kamailio.
const checkTimeout = 20 * time.Second

// Paths tries the ways through every Kamailio; room is a SIP URI to write to, or
// empty. Its result is the result of the method.
type Paths func(ctx context.Context, room string) any

// CheckMethod is imc.check: [room?] tries the ways through every Kamailio. Without
// a room it takes one that there is.
func CheckMethod(rooms Rooms, paths Paths) jsonrpc.Method {
	m := method{params: []param{optional(text("room"))}, timeout: checkTimeout,
		run: func(ctx context.Context, v values) (any, error) {
			if room := v.text("room"); room != "" {
				uri, err := PlainURI(room)
				if err != nil {
					return nil, invalid("room: %v", err)
				}
				return paths(ctx, uri), nil
			}
			list, err := rooms.Rooms(ctx)
			if err != nil {
				return nil, err
			}
			room := ""
			if len(list) > 0 {
				room = list[0].Room
			}
			return paths(ctx, room), nil
		}}
	return m.bounded
}

// PlainURI checks the SIP URI of a room and takes all out of it but user, host
// and port.
func PlainURI(s string) (string, error) {
	if !strings.HasPrefix(strings.ToLower(s), "sip:") {
		s = "sip:" + s
	}
	var u sip.Uri
	if err := sip.ParseUri(s, &u); err != nil {
		return "", fmt.Errorf("%q is no SIP URI: %w", s, err)
	}
	name, err := engine.NameOf(&u)
	if err != nil {
		return "", fmt.Errorf("%q: %w", s, err)
	}
	if u.Port == 0 {
		return name.URI(), nil
	}
	return name.URI() + ":" + strconv.Itoa(u.Port), nil
}
