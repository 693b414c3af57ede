package sipmsg

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

const (
	// maxReceipts bounds the receipts in one body; a MESSAGE has space for some 200.
	maxReceipts = 256
	// maxReceipt bounds one of them, in bytes. ParseIMDN refuses longer ones.
	maxReceipt = 16<<10 + 1
)

// readReceipts reads a body of several receipts: Linphone sends those of messages that come at the same time in one.
// False: it is something else, or has other parts. One that cannot be read is left out.
func readReceipts(e *Entity) (list []IMDN, ok bool) {
	kind, params, err := mime.ParseMediaType(e.ContentType)
	if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" {
		return nil, false
	}
	body, err := decode(e)
	if err != nil {
		return nil, false
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for range maxReceipts {
		part, err := parts.NextRawPart()
		if err != nil {
			return list, ok // the end, or what cannot be read: it is nothing for people either
		}
		if kindOf(part.Header.Get("Content-Type")) != Receipt {
			return nil, false
		}
		ok = true
		text, err := io.ReadAll(io.LimitReader(part, maxReceipt))
		if err != nil {
			return list, ok
		}
		inner := Entity{Body: text, Headers: []Header{
			{"Content-Encoding", part.Header.Get("Content-Encoding")},
			{"Content-Transfer-Encoding", part.Header.Get("Content-Transfer-Encoding")}}}
		if text, err = decode(&inner); err != nil {
			continue
		}
		if n, err := ParseIMDN(text); err == nil {
			list = append(list, n)
		}
	}
	return list, ok
}
