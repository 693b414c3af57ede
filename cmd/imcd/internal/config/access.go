package config

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"imcd/engine"
)

// accessKeys say which clients may ask imcd, and what is shown to them.
func accessKeys() []key {
	return []key{
		secretKey("rpc_token", "what clients of rpc_listen and http_listen must know; empty: loopback only, nothing asked "+
			"for",
			func(r *raw) *string { return &r.Access.Token }),
		fileKey("rpc_token"),
		textKey("http_origins", "scheme://host[:port] of web pages that may ask beside imcd's own, several with commas "+
			"between",
			func(r *raw) *string { return &r.origins }),
		boolKey("event_bodies", "1: the message bodies are shown in live events to who asks for them",
			func(r *raw) *bool { return &r.Access.EventBodies }),
		textKey("bots", "SIP URIs of users that are programs on the WebSocket, several with commas between",
			func(r *raw) *string { return &r.bots }),
	}
}

// minToken is how long a token must be that strangers can guess at.
const minToken = 16

func (r *raw) checkToken() error {
	if r.Access.Token == "" {
		return nil
	}
	if err := checkSecret(r.Access.Token); err != nil {
		return err
	}
	open := !IsLoopback(r.RPC.Listen) || !IsLoopback(r.HTTP.Listen)
	if open && len(r.Access.Token) < minToken {
		return fmt.Errorf("must have at least %d characters if others than this host can connect", minToken)
	}
	return nil
}

// checkReach refuses a port that others than this host can reach and that asks
// for no token.
func (r *raw) checkReach(addr string) error {
	if IsLoopback(addr) || r.Access.Token != "" {
		return nil
	}
	return fmt.Errorf("%s is not only for this host, and then rpc_token (or rpc_token_file) must be set", addr)
}

// IsLoopback reports whether only this host can connect to a port that listens
// on addr; so it is if there is none (empty).
func IsLoopback(addr string) bool {
	if addr == "" {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && LoopbackHost(host)
}

// LoopbackHost reports whether a name or address, without port, always means
// this host.
func LoopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

func (r *raw) checkOrigins() error {
	r.Access.Origins = nil
	for _, s := range commaList(r.origins) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != s {
			return fmt.Errorf("must be scheme://host[:port] as in https://ops.example.org, is %q", s)
		}
		r.Access.Origins = append(r.Access.Origins, strings.ToLower(s))
	}
	return nil
}

func (r *raw) checkBots() error {
	r.Bots = nil
	seen := map[string]bool{}
	for _, s := range commaList(r.bots) {
		n, err := engine.ParseName(s, "")
		if err != nil {
			return fmt.Errorf("%q: %w", s, err)
		}
		if seen[n.Key()] {
			return fmt.Errorf("%s is there twice", n.URI())
		}
		seen[n.Key()] = true
		r.Bots = append(r.Bots, n)
	}
	return nil
}

// commaList splits at commas; empty parts are left out.
func commaList(s string) []string {
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}
