package sipmsg

import (
	"strings"
	"testing"
)

// severalIMDN is what Linphone 5.1 sends, with other names.
const severalIMDN = "-----1\r\nContent-Type: message/imdn+xml\r\nContent-Length: 99\r\n\r\n" +
	`<?xml version="1.0" encoding="UTF-8" standalone="no" ?><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>one` +
	`</message-id><datetime>2026-11-30T08:15:58Z</datetime><delivery-notification><status><delivered/></status>` +
	"</delivery-notification></imdn>\r\n-----1\r\nContent-Type: message/imdn+xml\r\n\r\n" +
	`<imdn><message-id>two</message-id><display-notification><status><displayed/></status></display-notification></imdn>` +
	"\r\n-----1--\r\n"

// TestReceiptsInOne: several receipts in one body are receipts, and no content for people; so are those that cannot be
// read. Anything beside receipts is for people.
func TestReceiptsInOne(t *testing.T) {
	t.Parallel()
	const ctype = "multipart/mixed;boundary=---1"
	in := func(headers string) string {
		return "From: <sip:a@b>\r\nTo: <sip:c@d>\r\n\r\nContent-Disposition: notification\r\n" + headers + "\r\n"
	}
	for name, c := range map[string]struct {
		ctype, body string
		kind        Kind
		want        string
	}{
		"two":         {ctype, severalIMDN, Receipt, "one delivered two displayed "},
		"two in CPIM": {CPIMType, in("Content-Type: "+ctype+"\r\n") + severalIMDN, Receipt, "one delivered two displayed "},
		"one is unreadable": {ctype, strings.Replace(severalIMDN, "<message-id>one", "<message-id>", 1), Receipt,
			"two displayed "},
		"all are unreadable": {ctype, strings.ReplaceAll(severalIMDN, "<message-id>", "<id>"), Receipt, ""},
		"the end is missing": {ctype, strings.TrimSuffix(severalIMDN, "---1--\r\n"), Receipt, "one delivered "},
		"a text behind it": {ctype, strings.Replace(severalIMDN, "-----1--\r\n",
			"-----1\r\nContent-Type: text/plain\r\n\r\nhi\r\n-----1--\r\n", 1), Attachment, ""},
		"a text":           {ctype, "-----1\r\nContent-Type: text/plain\r\n\r\nhi\r\n-----1--\r\n", Attachment, ""},
		"no parts":         {ctype, "-----1--\r\n", Attachment, ""},
		"another boundary": {"multipart/mixed;boundary=x", severalIMDN, Attachment, ""},
		"no boundary":      {"multipart/mixed", severalIMDN, Attachment, ""},
		"very many": {ctype, strings.Repeat(strings.TrimSuffix(severalIMDN, "-----1--\r\n"), 300), Receipt,
			strings.Repeat("one delivered two displayed ", maxReceipts/2)},
	} {
		content, err := Read(Entity{ContentType: c.ctype, Body: []byte(c.body)})
		if err != nil || content.Kind != c.kind {
			t.Errorf("%s: %v, %v", name, content.Kind, err)
		}
		got := ""
		if content.IMDN != nil {
			for _, n := range append([]IMDN{*content.IMDN}, content.More...) {
				got += n.MessageID + " " + n.Status.String() + " "
			}
		}
		if got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
