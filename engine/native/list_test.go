package native_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"imcd/engine/native"
)

// linphoneList is a list as Linphone writes it.
const linphoneList = `<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<p1:resource-lists xmlns:p1="urn:ietf:params:xml:ns:resource-lists">
  <p1:list>
    <p1:entry uri="sip:bob@chat.test"/>
    <p1:entry uri="sip:chat-1@chat.test;Last-Notify=7"/>
  </p1:list>
</p1:resource-lists>
`

const (
	listHead = `<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>`
	listTail = `</list></resource-lists>`
)

func TestReadList(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		doc  string
		want []string
	}{
		{linphoneList, []string{"sip:bob@chat.test", "sip:chat-1@chat.test;Last-Notify=7"}},
		{listHead + listTail, nil},
		{listHead + `<display-name>x</display-name><entry uri="a"><display-name>A</display-name></entry><list>` +
			`<entry uri="b"/></list><x:entry xmlns:x="y" uri="c"/>` + listTail, []string{"a", "b"}},
	} {
		if got, err := native.ReadList([]byte(c.doc)); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", c.doc, got, err)
		}
	}
}

func TestReadListRefuses(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{
		"nothing":     "",
		"no XML":      "sip:bob@chat.test",
		"no root":     `<list/>`,
		"two roots":   listHead + listTail + listHead + listTail,
		"no end":      listHead,
		"no address":  listHead + `<entry/>` + listTail,
		"a DTD":       `<!DOCTYPE x [<!ENTITY a "aaaa">]>` + listHead + listTail,
		"an entity":   listHead + `<entry uri="&a;"/>` + listTail,
		"a charset":   `<?xml version="1.0" encoding="UTF-16"?>` + listHead + listTail,
		"bad nesting": listHead + `<entry uri="a"></list></resource-lists>`,
	} {
		if got, err := native.ReadList([]byte(doc)); err == nil || errors.Is(err, native.ErrTooLarge) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, doc := range map[string]string{
		"depth":   strings.Repeat("<list>", 9),
		"entries": strings.Repeat(`<entry uri="a"/>`, 1001),
		"bytes":   strings.Repeat(" ", 128<<10),
	} {
		if _, err := native.ReadList([]byte(listHead + doc + listTail)); !errors.Is(err, native.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadList(f *testing.F) {
	f.Add([]byte(linphoneList))
	f.Add([]byte(listHead + `<entry uri="a"/>` + listTail))
	f.Add([]byte(`<!DOCTYPE x []>` + listHead + listTail))
	f.Fuzz(func(t *testing.T, doc []byte) {
		uris, err := native.ReadList(doc)
		if err != nil && uris != nil || len(uris) > 1000 || slices.Contains(uris, "") {
			t.Fatalf("%q, %v", uris, err)
		}
	})
}
