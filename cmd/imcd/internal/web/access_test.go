package web

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func loopback(host string) bool { return host == "localhost" || host == "127.0.0.1" }

const secret = "a-token-of-some-length"

// TestWebPageCannotAsk: what a page of another site can do in a browser on the
// operator's host, with its name pointed at this host or not.
func TestWebPageCannotAsk(t *testing.T) {
	for _, c := range []struct {
		name, host string
		headers    []string
		code       int
	}{
		{"a program", "127.0.0.1:8450", nil, 200},
		{"a program, by name", "localhost:8450", nil, 200},
		{"the console", "localhost:8450", []string{"Origin", "http://localhost:8450", "Sec-Fetch-Site", "same-origin"}, 200},
		{"a page of another site", "127.0.0.1:8450", []string{"Origin", "https://evil.example"}, 403},
		{"another program's page on this host", "localhost:8450", []string{"Origin", "http://localhost:3000"}, 403},
		{"a page without origin", "localhost:8450", []string{"Origin", "null"}, 403},
		{"an image in a page", "localhost:8450", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"DNS rebinding", "evil.example:8450", []string{"Origin", "http://evil.example:8450"}, 403},
		{"DNS rebinding, no origin", "evil.example:8450", nil, 403},
		{"no host at all", "", nil, 403},
		{"a configured page", "localhost:8450", []string{"Origin", "https://Ops.example.org"}, 200},
		{"a proxy under a configured name", "ops.example.org", []string{"Origin", "https://ops.example.org"}, 200},
		{"the same name, another port", "ops.example.org:444", nil, 403},
	} {
		a := &Access{Origins: []string{"https://ops.example.org"}, Loopback: loopback}
		if code := guarded(a, c.host, c.headers...); code != c.code {
			t.Errorf("%s: %d, want %d", c.name, code, c.code)
		}
	}
}

// TestToken: with a token nothing goes without it, wherever it comes from.
func TestToken(t *testing.T) {
	protocol := TokenProtocol + base64.RawURLEncoding.EncodeToString([]byte(secret))
	for _, c := range []struct {
		name, header, value string
		code                int
	}{
		{"none", "", "", 401},
		{"right", "Authorization", "Bearer " + secret, 200},
		{"another case of the scheme", "Authorization", "bearer " + secret, 200},
		{"wrong", "Authorization", "Bearer " + secret + "x", 401},
		{"shorter", "Authorization", "Bearer " + secret[:5], 401},
		{"empty", "Authorization", "Bearer ", 401},
		{"basic", "Authorization", "Basic " + secret, 401},
		{"subprotocol", "Sec-Websocket-Protocol", "imcd, " + protocol, 200},
		{"wrong subprotocol", "Sec-Websocket-Protocol", "imcd, " + protocol + "x", 401},
		{"subprotocol that is no base64", "Sec-Websocket-Protocol", TokenProtocol + "!!", 401},
	} {
		a := &Access{Token: secret, Loopback: loopback}
		for _, host := range []string{"127.0.0.1:8450", "chat.example.org"} {
			if code := guarded(a, host, c.header, c.value); code != c.code {
				t.Errorf("%s at %s: %d, want %d", c.name, host, code, c.code)
			}
		}
	}
	a := &Access{Token: secret, Loopback: loopback}
	if code := guarded(a, "127.0.0.1:8450", "Authorization", "Bearer "+secret, "Origin",
		"https://evil.example"); code != 403 {
		t.Errorf("a page of another site with the token: %d", code)
	}
}

func guarded(a *Access, host string, headers ...string) int {
	r := httptest.NewRequest(http.MethodGet, "http://x/ws?token="+secret, strings.NewReader(""))
	r.Host = host
	for n := 0; n+1 < len(headers); n += 2 {
		if headers[n] != "" {
			r.Header.Set(headers[n], headers[n+1])
		}
	}
	w := httptest.NewRecorder()
	a.Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
	return w.Code
}
