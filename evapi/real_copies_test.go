package evapi_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestRealBytes sends what Kamailio's tm.t_uac_start would change, and what it
// must not.
func TestRealBytes(t *testing.T) {
	for _, lane := range lanes {
		t.Run(lane.String(), func(t *testing.T) { realBytes(t, lane, "") })
	}
	t.Run("through", func(t *testing.T) { realBytes(t, evapi.LaneSIP, throughLocal) })
}

// lanes are all that copies can take.
var lanes = []evapi.Lane{evapi.LaneRPC, evapi.LaneBatch, evapi.LaneSIP}

func realBytes(t *testing.T, lane evapi.Lane, local string) {
	k := kit.Kamailio(t, evapitest.Options{IMCLocal: local})
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	tests := map[string]struct {
		c    evapi.Content
		want []string // lines of the head
	}{
		"bytes": {evapi.Content{Body: every[1:]}, nil},
		"NUL":   {evapi.Content{Body: every}, []string{"Content-Type: text/plain"}},
		"quotes": {evapi.Content{From: "\"Al \\\"the\\\" \xff wow!! ok!\" <sip:chat-r@example.org>",
			Body: []byte(`"\",\u0041`)},
			nil},
		"one mark": {evapi.Content{Headers: []evapi.Header{{Name: "X-A", Value: "hello! there! you!"}}},
			[]string{"X-A: hello! there! you!"}},
		"two marks": {evapi.Content{Headers: []evapi.Header{{Name: "X-A", Value: "wow!!x"}}}, []string{"X-A: wow!!x"}},
		"type": {evapi.Content{ContentType: `multipart/mixed; boundary="a!b"`, Headers: []evapi.Header{{Name: "In-Reply-To",
			Value: "x@y"}}},
			[]string{`Content-Type: multipart/mixed; boundary="a!b"`, "In-Reply-To: x@y"}},
		"headers": {evapi.Content{ContentType: `a/b; c="d\e"`, Headers: []evapi.Header{{Name: "X-A", Value: "\t\xff\x01"},
			{Name: "X-B", Value: `"`}}},
			[]string{`Content-Type: a/b; c="d\e"`, "X-B: \""}},
		"empty":            {evapi.Content{}, nil},
		"large":            {evapi.Content{Body: bytes.Repeat([]byte("x"), 31600)}, nil},
		"largest with NUL": {evapi.Content{Body: bytes.Repeat([]byte("x\x00"), 11600)}, nil},
	}
	s := newSink(t, func(callID string, body []byte) error {
		if want := tests[strings.ReplaceAll(callID, "_", " ")].c.Body; !bytes.Equal(body, want) {
			return fmt.Errorf("body is %q", body)
		}
		return nil
	})
	noNames := losesNames(t)
	results := make(chan evapi.Result, len(tests))
	c := connect(t, k, lane, s.uri(), newEvents(func(r evapi.Result) { results <- r }))
	for name, tt := range tests {
		if tt.c.From == "" {
			tt.c.From = "<sip:chat-r@example.org>"
		}
		out, err := evapi.NewOutgoing(tt.c)
		if err != nil {
			t.Fatal(name, err)
		}
		callID := strings.ReplaceAll(name, " ", "_")
		if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org;x=y", CallID: callID}); err != nil {
			t.Fatal(name, err)
		}
		if r := kit.Await(t, "result of "+name, results); r.Code != 200 || r.CallID != callID {
			t.Errorf("%s: %+v", name, r)
		}
		head := s.head(callID)
		want := append(tt.want, "To: <sip:bob@example.org;x=y>")
		for _, line := range want {
			if !strings.Contains(head+"\r\n", "\r\n"+line+"\r\n") {
				t.Errorf("%s: no line %q in %q", name, line, head)
			}
		}
		from := tt.c.From
		if lane == evapi.LaneRPC && noNames {
			from = from[strings.IndexByte(from, '<'):]
		}
		if strings.Count(head, "\r\nFrom: "+from+";tag=") != 1 || strings.Count(head, ";tag=") != 1 {
			t.Errorf("%s: From in %q", name, head)
		}
	}
	if p := s.trouble(); len(p) != 0 {
		t.Errorf("%q", p)
	}
}

// losesNames reports whether Kamailio's tm.t_uac_start leaves the display name out
// of From, as 5.7 to 5.8.8, 6.0, 6.1.0 and 6.1.1 do.
func losesNames(t *testing.T) bool {
	t.Helper()
	version, err := evapitest.KamailioVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return version >= 50700 && version <= 50808 || version >= 60000 && version < 60102
}

// TestRealErrors sends copies that Kamailio refuses.
func TestRealErrors(t *testing.T) {
	for _, lane := range lanes {
		t.Run(lane.String(), func(t *testing.T) { realErrors(t, lane) })
	}
}

func realErrors(t *testing.T, lane evapi.Lane) {
	k := kit.Kamailio(t, evapitest.Options{})
	results := make(chan evapi.Result, 10)
	c := connect(t, k, lane, "", newEvents(func(r evapi.Result) { results <- r }))
	for _, body := range []string{"x", "x\x00"} {
		out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-r@example.org>", Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		// uac_req_send does not look at the URI; Kamailio's routing then does.
		local := body == "x" && lane == evapi.LaneRPC
		for i, to := range []string{"nonsense", "sip:bob@host:notaport"} {
			callID := fmt.Sprintf("%q-%d", body, i)[1:]
			callID = strings.NewReplacer(`"`, "", `\`, "").Replace(callID)
			if err := c.Send(evapi.Copy{Out: out, To: to, CallID: callID}); err != nil {
				t.Fatal(err)
			}
			if r := kit.Await(t, "result for "+to, results); r.Local != local || r.CallID != callID || r.Code != 400 {
				t.Errorf("%q to %s: %+v", body, to, r)
			}
		}
		// Kamailio itself is the next hop, and does not know the user.
		if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", CallID: fmt.Sprint("ok-", len(body))}); err != nil {
			t.Fatal(err)
		}
		if r := kit.Await(t, "404", results); r.Local || r.Code != 404 {
			t.Errorf("%q: %+v", body, r)
		}
	}
	if st := c.Stats(); st.Unmatched != 0 {
		t.Errorf("%+v", st)
	}
}
