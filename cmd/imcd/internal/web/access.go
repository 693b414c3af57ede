package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Access decides which clients may ask over HTTP.
//
// Without a token only this host can connect (the configuration sees to it), so
// what remains is a page of another site in a browser on this host. It cannot
// hide where it comes from: the Origin header says so, and if its name was
// pointed at this host (DNS rebinding) the Host header does.
type Access struct {
	Token   string   // empty: none is asked for
	Origins []string // scheme://host[:port] of pages that may ask, in lower case
	// Loopback tells a host name or address that always means this host.
	Loopback func(host string) bool
}

// TokenProtocol begins the WebSocket subprotocol in which a browser, which
// cannot set headers there, gives the token: base64url without padding follows.
const TokenProtocol = "imcd.token."

// Guard lets those requests through to h that may ask.
func (a *Access) Guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !a.hostOK(r.Host):
			http.Error(w, "imcd does not answer to this name: see http_origins, or set rpc_token", http.StatusForbidden)
		case !a.originOK(r):
			http.Error(w, "pages of other sites may not ask: see http_origins", http.StatusForbidden)
		case !a.tokenOK(r):
			w.Header().Set("WWW-Authenticate", `Bearer realm="imcd"`)
			http.Error(w, "the token (rpc_token) is missing or wrong", http.StatusUnauthorized)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// hostOK reports whether the name under which imcd is asked is its own. With a
// token there are no wrong names: a page of another site does not know it.
func (a *Access) hostOK(hostport string) bool {
	if a.Token != "" {
		return true
	}
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return a.Loopback(host) || slices.ContainsFunc(a.Origins, func(o string) bool {
		u, err := url.Parse(o)
		return err == nil && strings.EqualFold(u.Host, hostport)
	})
}

// originOK reports whether the page that asks, if it is one, is imcd's own or a
// configured one.
func (a *Access) originOK(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		site := r.Header.Get("Sec-Fetch-Site")
		return site == "" || site == "same-origin" || site == "none"
	}
	if slices.Contains(a.Origins, strings.ToLower(origin)) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// tokenOK compares digests, so that the time taken says nothing of the token,
// not even its length.
func (a *Access) tokenOK(r *http.Request) bool {
	if a.Token == "" {
		return true
	}
	given, want := sha256.Sum256([]byte(tokenOf(r))), sha256.Sum256([]byte(a.Token))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

// tokenOf is the token that a request brings; empty if it brings none. It is
// never taken from the URL, which ends up in logs and histories.
func tokenOf(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for word := range strings.SplitSeq(line, ",") {
			coded, ok := strings.CutPrefix(strings.TrimSpace(word), TokenProtocol)
			if !ok {
				continue
			}
			if token, err := base64.RawURLEncoding.DecodeString(coded); err == nil {
				return string(token)
			}
		}
	}
	return ""
}
