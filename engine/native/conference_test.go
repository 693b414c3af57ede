package native_test

import (
	"bytes"
	"compress/zlib"
	"encoding/xml"
	"fmt"
	"io"
	"testing"
	"time"

	"imcd/engine/native"
)

func TestConference(t *testing.T) {
	t.Parallel()
	const begin = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:chat-1@d" `
	at := time.Unix(1795874959, 0)
	for _, c := range []struct {
		doc  native.Conference
		want string
	}{
		{native.Conference{Room: "sip:chat-1@d", Version: 1, Title: "Tomato <growers> & \"co\"", At: at, Users: []native.User{
			{URI: "sip:alice@d", Admin: true, Devices: []string{"sip:alice@d;gr=urn:uuid:1"}}, {URI: "sip:b&b@d"}}},
			`state="full" version="1"><conference-description><subject>Tomato &lt;growers&gt; &amp; &#34;co&#34;</subject>` +
				`<free-text>1795874959</free-text></conference-description><users><user entity="sip:alice@d" state="full">` +
				`<roles><entry>admin</entry></roles><endpoint entity="sip:alice@d;gr=urn:uuid:1" state="full"/></user>` +
				`<user entity="sip:b&amp;b@d" state="full"><roles><entry>participant</entry></roles></user></users>` +
				`</conference-info>`},
		{native.Conference{Room: "sip:chat-1@d", Version: 1, At: at}, `state="full" version="1"><conference-description>` +
			`<free-text>1795874959</free-text></conference-description><users></users></conference-info>`},
		{native.Conference{Room: "sip:chat-1@d", Version: 4294967295, Partial: true, Title: "new", At: at},
			`state="partial" version="4294967295"><conference-description><subject>new</subject>` +
				`<free-text>1795874959</free-text></conference-description></conference-info>`},
		{native.Conference{Room: "sip:chat-1@d", Version: 2, Partial: true, At: at, Users: []native.User{
			{URI: "sip:bob@d", State: native.Gone}, {URI: "sip:carol@d", State: native.Changed, Admin: true}}},
			`state="partial" version="2"><conference-description><free-text>1795874959</free-text></conference-description>` +
				`<users><user entity="sip:bob@d" state="deleted"/><user entity="sip:carol@d" state="partial"><roles>` +
				`<entry>admin</entry></roles></user></users></conference-info>`},
	} {
		if got := string(c.doc.Append(nil)); got != begin+c.want {
			t.Errorf("got  %s\nwant %s", got, begin+c.want)
		}
	}
}

// TestConferenceIsXML: whatever is in a title, the document can be read, and nothing becomes an element.
func TestConferenceIsXML(t *testing.T) {
	t.Parallel()
	for _, title := range []string{"\x00\xff", "]]><x/>", "<!-- ", "\u202e", "&amp;"} {
		doc := native.Conference{Room: "sip:r@d", Title: title, Users: []native.User{{URI: `sip:a"/><x@d`}}}
		var read struct {
			Subject string `xml:"conference-description>subject"`
			Users   []struct {
				Entity string `xml:"entity,attr"`
			} `xml:"users>user"`
			X []struct{} `xml:"x"`
		}
		if err := xml.Unmarshal(doc.Append(nil), &read); err != nil || len(read.Users) != 1 || len(read.X) > 0 ||
			read.Users[0].Entity != `sip:a"/><x@d` {
			t.Errorf("%q: %+v, %v", title, read, err)
		}
	}
}

func TestDeflate(t *testing.T) {
	t.Parallel()
	doc := native.Conference{Room: "sip:r@d"}
	for i := range 1000 {
		doc.Users = append(doc.Users, native.User{URI: fmt.Sprintf("sip:user%04d@chat.test", i)})
	}
	plain := doc.Append(nil)
	packed := native.Deflate(plain)
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes of %d, %v", len(got), len(plain), err)
	}
	if len(packed) > 8000 {
		t.Errorf("1000 members take %d bytes", len(packed))
	}
}
