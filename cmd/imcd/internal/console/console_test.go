package console

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// TestFiles: the page and its files come with their types, under a policy that
// lets it load nothing else, and nothing else is there.
func TestFiles(t *testing.T) {
	for path, kind := range map[string]string{"/": "text/html", "/app.js": "text/javascript", "/style.css": "text/css",
		"/icon.svg": "image/svg+xml"} {
		w := get(path)
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if p := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'") ||
			strings.Contains(p, "unsafe") {
			t.Errorf("%s: policy is %q", path, p)
		}
	}
	for _, path := range []string{"/static/", "/console.go", "/../console.go", "/nothing"} {
		if w := get(path); w.Code == http.StatusOK {
			t.Errorf("%s is there", path)
		}
	}
}

// TestDataIsText: no file has a way for data to become HTML or code, and none
// loads anything from elsewhere.
func TestDataIsText(t *testing.T) {
	bad := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|` +
		`setHTML|<script>|\son\w+="|\sstyle="`)
	elsewhere := regexp.MustCompile(`(?:src|href)="[a-z]*:?//|@import|import .*"http`)
	err := fs.WalkDir(files, "static", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		for _, re := range []*regexp.Regexp{bad, elsewhere} {
			if found := re.Find(b); found != nil {
				t.Errorf("%s has %q", path, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
