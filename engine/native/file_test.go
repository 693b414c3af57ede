package native_test

import (
	"bytes"
	"strings"
	"testing"

	"imcd/engine/native"
)

const (
	thumbnail = `<file-info type="thumbnail"><file-size>5</file-size><data url="https://x.org/t" until=""/></file-info>`
	picture   = `<file-info type="file"><file-size>17</file-size><file-name>a &amp; b.png</file-name>` +
		`<content-type>image/png</content-type><data url="https://x.org/a?b=1&amp;c=2" until=""/></file-info>`
)

func TestReadFile(t *testing.T) {
	t.Parallel()
	const head = `<?xml version="1.0" encoding="UTF-8"?><file xmlns="urn:gsma:params:xml:ns:rcs:rcs:fthttp">`
	want := native.File{Name: "a & b.png", URL: "https://x.org/a?b=1&c=2", Size: 17}
	for doc, ok := range map[string]bool{
		head + picture + `</file>`:             true,
		head + thumbnail + picture + `</file>`: true,
		`<file>` + picture + `</file>`:         true,
		head + thumbnail + `</file>`:           false,
		head + `</file>`:                       false,
		head + picture:                         false,
		`<list>` + picture + `</list>`:         false,
		"":                                     false,
		`<!DOCTYPE x [<!ENTITY a "aaaa">]><file><file-info type="file"><data url="&a;"/></file-info></file>`: false,
		`<!DOCTYPE file><file>` + picture + `</file>`:                                                        false,
		head + picture + strings.Repeat(" ", 16<<10) + `</file>`:                                             false,
	} {
		if got, err := native.ReadFile([]byte(doc)); (err == nil) != ok || ok && got != want {
			t.Errorf("%s: %+v, %v", doc, got, err)
		}
	}
}

// FuzzReadFile: a document of any sender is refused, or names a file by its address.
func FuzzReadFile(f *testing.F) {
	f.Add([]byte(`<file>` + thumbnail + picture + `</file>`))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "aaaa">]><file>` + picture + `</file>`))
	f.Fuzz(func(t *testing.T, document []byte) {
		file, err := native.ReadFile(document)
		if (err == nil) != (file.URL != "") || err == nil && bytes.HasPrefix(document, []byte("<!D")) {
			t.Errorf("%+v, %v", file, err)
		}
	})
}
