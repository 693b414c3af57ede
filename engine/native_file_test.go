package engine

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi/sipmsg"
)

// TestNativeFiles: a file that Linphone sends comes to other Linphones as it was, once, and without a line before it:
// they show the author. Plain phones get the line, which says what file that is and where, and the file as it was. The
// history says the same of the file.
func TestNativeFiles(t *testing.T) {
	t.Parallel()
	const fileType = "application/vnd.gsma.rcs-ft-http+xml"
	const file = `<?xml version="1.0" encoding="UTF-8"?>` + "\r\n" +
		`<file xmlns="urn:gsma:params:xml:ns:rcs:rcs:fthttp">` +
		`<file-info type="file"><file-size>17</file-size><file-name>a b.png</file-name><content-type>image/png` +
		`</content-type><data url="https://files.example/a.png?x=1&amp;y=2" until="2026-12-28T12:00:00Z"/></file-info></file>`
	const line = "[alice] sent a b.png (17 bytes): https://files.example/a.png?x=1&y=2"
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	body := "From: <" + gruuOfUser("alice") + ">\r\nTo: <" + room + ">\r\nNS: imdn <urn:ietf:params:imdn>\r\n" +
		"imdn.Message-ID: hers\r\n\r\nContent-Type: " + fileType + "\r\n\r\n" + file
	for what, c := range map[string]struct{ body, contentType, from, author string }{
		"from Linphone":      {body, sipmsg.CPIMType, "alice", "<sip:alice@x.org>"},
		"from one with name": {body, sipmsg.CPIMType, `"Al" <sip:alice@x.org>`, `"Al" <sip:alice@x.org>`},
		"from another phone": {file, fileType, "carol", "<sip:carol@x.org>"},
	} {
		h.want(<-h.post(c.from, strings.TrimPrefix(room, "sip:"), c.body, "Content-Type: "+c.contentType+"\r\n"), 200, 1)
		v.texts = nil
		h.quiet()
		v.look()
		var got []string
		for _, text := range v.texts {
			to, is, _ := strings.Cut(text, " ")
			if native := strings.Contains(to, ";gr="); native && !(strings.HasPrefix(is, "From: "+c.author+"\r\n") &&
				strings.Contains(is, "\r\n\r\nContent-Type: "+fileType+"\r\n") && strings.HasSuffix(is, "\r\n\r\n"+file)) {
				t.Errorf("%s: %s got %q", what, to, is)
			} else if !native {
				got = append(got, is)
			}
		}
		want := 1 // alice and bob, or bob
		if c.from == "carol" {
			want = 2
		} else if len(got) != 2 || got[0] != line || got[1] != file {
			t.Errorf("%s: plain phones got %q", what, got)
		}
		if n := len(v.texts) - len(got); n != want {
			t.Errorf("%s: %d copies for Linphones, want %d", what, n, want)
		}
		v.texts = nil
		h.want(<-h.post("carol", strings.TrimPrefix(room, "sip:"), "#history 1"), 200, 1)
		h.until("carol has the history", func() bool { v.look(); return len(v.texts) > 0 })
		if !strings.HasSuffix(v.texts[0], ": a b.png (17 bytes): https://files.example/a.png?x=1&y=2") {
			t.Errorf("%s: the history is %q", what, v.texts)
		}
	}
}

// TestNativeFilesLater: the same of a Linphone that was away when files were sent.
func TestNativeFilesLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob", "carol")
		v.passes(time.Second)
		h.answers("bob", result(404))
		for _, from := range []string{"alice", "carol"} {
			h.want(<-h.post(from, strings.TrimPrefix(room, "sip:"), "\x89PNG", "Content-Type: image/png\r\n"), 200, 1)
			pass(time.Minute)
		}
		h.relay.take()
		h.relay.set(func() { delete(h.relay.codes, "bob") })
		h.nativeFor("bob")
		h.e.Registered("sip:bob@x.org")
		pass(time.Minute)
		v.look()
		var got []string
		for _, text := range v.texts {
			if to, is, _ := strings.Cut(text, " "); strings.HasPrefix(to, "sip:bob@") {
				from, _, _ := strings.Cut(is, "\r\n")
				got = append(got, strings.TrimPrefix(to, "sip:bob@x.org")+" "+from)
			}
		}
		want := []string{";gr=urn:uuid:bob From: <sip:alice@x.org>", ";gr=urn:uuid:bob From: <sip:carol@x.org>"}
		if !slices.Equal(got, want) {
			t.Errorf("bob's Linphone got %q", got)
		}
	})
}
