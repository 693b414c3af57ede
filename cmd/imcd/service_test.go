package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/evapi/jsonrpc"
)

// startBoth starts Kamailio and an imcd that is connected to it.
func startBoth(t *testing.T, opts imcdtest.Options) (*evapitest.Kamailio, *imcdtest.Imcd) {
	t.Helper()
	k := kit.Kamailio(t, evapitest.Options{})
	opts.Evapi, opts.Secret = k.EvapiAddr(), k.Secret()
	i := startImcd(t, opts)
	if err := i.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	return k, i
}

// user is a registered user agent.
func user(t *testing.T, k *evapitest.Kamailio, name string) *evapitest.UA {
	t.Helper()
	return kit.Registered(t, k, evapitest.UAConfig{User: name, Domain: "example.org"})
}

const lobby = "sip:chat-lobby@example.org"

// question is a call with the answer, or a part of the error, that each door
// has to give.
type question struct {
	method string
	params any
	want   string
	err    string
}

func questions() []question {
	return []question{
		{"imc.list_rooms", nil, `[{"room":"sip:chat-lobby@example.org","members":2,"owner":"sip:alice@example.org"}]`,
			""},
		{"imc.list_rooms", []string{},
			`[{"room":"sip:chat-lobby@example.org","members":2,"owner":"sip:alice@example.org"}]`, ""},
		{"imc.list_members", []string{lobby},
			`{"room":"sip:chat-lobby@example.org","members":["sip:alice@example.org","sip:bob@example.org"],"count":2}`,
			""},
		{"imc.list_members", map[string]string{"room": "CHAT-lobby@example.org"},
			`{"room":"sip:chat-lobby@example.org","members":["sip:alice@example.org","sip:bob@example.org"],"count":2}`,
			""},
		{"imc.room_active", []string{lobby}, `true`, ""},
		{"imc.room_active", []string{"sip:chat-none@example.org"}, `false`, ""},
		{"imc.room_member", []string{lobby, "sip:bob@example.org"}, `true`, ""},
		{"imc.room_member", map[string]string{"room": lobby, "user": "sip:carol@example.org"}, `false`, ""},
		{"imc.list_members", []string{"sip:chat-none@example.org"}, "", "no such room"},
		{"imc.list_members", nil, "", "no room given"},
		{"imc.list_members", []string{""}, "", "no room given"},
		{"imc.list_members", []string{"http://example.org/"}, "", "bad URI"},
		{"imc.list_members", []int{7}, "", "must be a string"},
		{"imc.list_members", []string{lobby, "x"}, "", "too many parameters"},
		{"imc.list_members", map[string]string{"raum": lobby}, "", `there is no parameter "raum"`},
		{"imc.room_member", []string{lobby}, "", "no user given"},
		{"imc.room_member", []string{lobby, "sip:@"}, "", "bad URI"},
		{"imc.no_such_method", nil, "", "imc.no_such_method"},
	}
}

// TestDoors: the same questions get the same answers through all three doors.
func TestDoors(t *testing.T) {
	k, i := startBoth(t, imcdtest.Options{})
	alice, bob := user(t, k, "alice"), user(t, k, "bob")
	kit.Say(t, alice, lobby, "#create", 200)
	kit.Say(t, bob, lobby, "#join", 200)

	through, err := evapi.DialKamailio(kit.Context(t), k.EvapiAddr(), k.OperatorSecret())
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	direct, err := evapi.Dial(kit.Context(t), i.RPCAddr(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	doors := map[string]func(method string, params any) (json.RawMessage, error){
		"through Kamailio": func(m string, p any) (r json.RawMessage, err error) {
			return r, through.Call(kit.Context(t), m, p, &r)
		},
		"RPC port": func(m string, p any) (r json.RawMessage, err error) {
			return r, direct.Call(kit.Context(t), m, p, &r)
		},
		"HTTP": func(m string, p any) (json.RawMessage, error) { return callHTTP(t, i, m, p) },
	}
	for name, call := range doors {
		t.Run(name, func(t *testing.T) {
			for _, q := range questions() {
				checkAnswer(t, q, call)
			}
			stats, err := call("imc.stats", nil)
			var s struct {
				Rooms int `json:"active_rooms"`
			}
			if err := errors.Join(err, json.Unmarshal(stats, &s)); err != nil || s.Rooms != 1 {
				t.Errorf("imc.stats: %s, %v", stats, err)
			}
		})
	}
}

func checkAnswer(t *testing.T, q question, call func(string, any) (json.RawMessage, error)) {
	t.Helper()
	got, err := call(q.method, q.params)
	switch {
	case q.err == "" && (err != nil || string(got) != q.want):
		t.Errorf("%s %v: %s, %v; want %s", q.method, q.params, got, err, q.want)
	case q.err != "":
		if refused := new(jsonrpc.Error); !errors.As(err, &refused) || !strings.Contains(refused.Message, q.err) {
			t.Errorf("%s %v: %s, error %v; want one with %q", q.method, q.params, got, err, q.err)
		}
	}
}

func callHTTP(t *testing.T, i *imcdtest.Imcd, method string, params any) (json.RawMessage, error) {
	t.Helper()
	request := map[string]any{"jsonrpc": "2.0", "id": 1, "method": method}
	if params != nil {
		request["params"] = params
	}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	var response struct {
		Result json.RawMessage
		Error  *jsonrpc.Error
	}
	if err := json.Unmarshal(post(t, i, string(body), http.StatusOK), &response); err != nil {
		t.Fatal(err)
	}
	if response.Error != nil {
		return nil, response.Error
	}
	return response.Result, nil
}

// post sends body to /rpc and wants a status.
func post(t *testing.T, i *imcdtest.Imcd, body string, status int, headers ...string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(kit.Context(t), http.MethodPost, "http://"+i.HTTPAddr()+"/rpc",
		strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(headers); n += 2 {
		req.Header.Set(headers[n], headers[n+1])
	}
	return do(t, req, status)
}

func do(t *testing.T, req *http.Request, status int) []byte {
	t.Helper()
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		t.Errorf("%s %s: status %d, want %d; %q %v", req.Method, req.URL.Path, res.StatusCode, status, got, err)
	}
	return got
}

func TestMetrics(t *testing.T) {
	k, i := startBoth(t, imcdtest.Options{})
	alice, bob := user(t, k, "alice"), user(t, k, "bob")
	kit.Say(t, alice, lobby, "#create", 200)
	kit.Say(t, bob, lobby, "#join", 200)
	kit.Say(t, alice, lobby, "hello", 200)
	if _, err := bob.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		return len(all) > 0 && strings.Contains(all[len(all)-1].Text(), "hello")
	}); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(kit.Context(t), http.MethodGet, "http://"+i.HTTPAddr()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := do(t, req, http.StatusOK)
	for _, want := range []string{
		"\nimc_active_rooms 1\n", "\nimc_messages_total 1\n", "\nimc_deliveries_total{result=\"ok\"} ",
		"\nimc_evapi_up{kamailio=", "\nimc_database_up 1\n", "\nimc_build_info{version=", "\ngo_goroutines ",
	} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("%q is not in the metrics:\n%s", want, got)
		}
	}
	if strings.Contains(i.Log(), "hello") {
		t.Errorf("what users say is in the log:\n%s", i.Log())
	}
}
