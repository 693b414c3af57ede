package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"imcd/engine"
)

const secretEnv = "IMCD_EVAPI_SECRET=s3cret"

// write makes a file in a directory of the test's own.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, file string, environ []string, args ...string) (*Config, error) {
	t.Helper()
	from := Sources{Environ: environ, Flags: pflag.NewFlagSet("imcd", pflag.ContinueOnError)}
	AddFlags(from.Flags)
	if err := from.Flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if file != "" {
		from.File = write(t, "imcd.yaml", file)
	}
	return Load(from)
}

func TestDefaults(t *testing.T) {
	c, err := load(t, "", []string{secretEnv})
	if err != nil {
		t.Fatal(err)
	}
	if c.DB.URL != "sqlite://run/imcd.db" {
		t.Errorf("db_url is %q", c.DB.URL)
	}
	if len(c.Kamailios) != 1 || c.Kamailios[0].Addr != "127.0.0.1:8448" || c.Kamailios[0].Secret != "s3cret" {
		t.Errorf("Kamailios are %+v", c.Kamailios)
	}
}

// TestSample: the sample file says exactly what holds without it.
func TestSample(t *testing.T) {
	var m map[string]any
	if err := yaml.Unmarshal([]byte(Sample()), &m); err != nil {
		t.Fatal(err)
	}
	d := defaults()
	for _, k := range keys() {
		v, ok := m[k.name]
		if !ok {
			t.Errorf("%s is missing in the sample", k.name)
			continue
		}
		if want := k.get(d); !reflect.DeepEqual(v, want) {
			t.Errorf("%s is %v in the sample, %v by default", k.name, v, want)
		}
	}
	with, err := load(t, Sample(), []string{secretEnv})
	if err != nil {
		t.Fatal(err)
	}
	without, err := load(t, "", []string{secretEnv})
	if err != nil {
		t.Fatal(err)
	}
	without.Engine.Notices, with.Engine.Notices = nil, nil
	if !reflect.DeepEqual(with, without) {
		t.Errorf("with the sample file:\n%+v\nwithout:\n%+v", with, without)
	}
}

func TestPriority(t *testing.T) {
	file := "hash_size: 1\nrpc_listen: 127.0.0.1:1111\nhttp_listen: 127.0.0.1:2222\n"
	environ := []string{secretEnv, "IMCD_HASH_SIZE=2", "RPC_PORT=3333", "HTTP_PORT=4444",
		"IMCD_HTTP_LISTEN=127.0.0.1:5555", "SIP_PORT=5070"}
	for _, step := range []struct {
		name    string
		environ []string
		args    []string
		hash    int
		rpc     string
		http    string
	}{
		{"file", []string{secretEnv}, nil, 1, "127.0.0.1:1111", "127.0.0.1:2222"},
		{"environment", environ, nil, 2, "127.0.0.1:3333", "127.0.0.1:5555"},
		{"flags", environ, []string{"--hash_size=3", "--rpc_listen="}, 3, "", "127.0.0.1:5555"},
	} {
		t.Run(step.name, func(t *testing.T) {
			c, err := load(t, file, step.environ, step.args...)
			if err != nil {
				t.Fatal(err)
			}
			if c.Engine.HashSize != step.hash || c.RPC.Listen != step.rpc || c.HTTP.Listen != step.http {
				t.Errorf("got %d, %q, %q", c.Engine.HashSize, c.RPC.Listen, c.HTTP.Listen)
			}
		})
	}
}

func TestShortVariables(t *testing.T) {
	c, err := load(t, "", []string{secretEnv, "EVAPI_PORT=9448", "STATE_DIR=/var/lib/imcd", "DB_URL="})
	if err != nil {
		t.Fatal(err)
	}
	if c.Kamailios[0].Addr != "127.0.0.1:9448" || c.DB.URL != "sqlite:///var/lib/imcd/imcd.db" {
		t.Errorf("got %q and %q", c.Kamailios[0].Addr, c.DB.URL)
	}
}

func TestSeveralKamailios(t *testing.T) {
	secret := write(t, "secret", "from-a-file\r\nnot this\n")
	list := "evapi:\n- 10.0.0.1:8448\n- {addr: '10.0.0.2:8448', secret: own}\n- {addr: '10.0.0.3:8448', secret_file: " +
		secret + "}\n"
	want := map[string]string{"10.0.0.1:8448": "s3cret", "10.0.0.2:8448": "own", "10.0.0.3:8448": "from-a-file"}
	c, err := load(t, list, []string{secretEnv})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, k := range c.Kamailios {
		got[k.Addr] = k.Secret
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	c, err = load(t, "", []string{secretEnv, "IMCD_EVAPI=a:1, b:2"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Kamailios) != 2 || c.Kamailios[1].Addr != "b:2" {
		t.Errorf("from the environment: %+v", c.Kamailios)
	}
	c, err = load(t, "", []string{secretEnv, `IMCD_EVAPI=[{addr: "a:1", secret: x}]`})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Kamailios) != 1 || c.Kamailios[0].Secret != "x" {
		t.Errorf("as a list in the environment: %+v", c.Kamailios)
	}
}

func TestRates(t *testing.T) {
	c, err := load(t, "rate_sender_messages: 60/10s\nrate_room_joins: '5/m'\nmax_rooms_per_user: 3\n",
		[]string{secretEnv, "IMCD_RATE_ROOM_MESSAGES=100/1m30s", "IMCD_CREATE_ALLOW=operators",
			"IMCD_SERVICE_ADMINS=sip:a@x.org, sip:b@x.org"})
	if err != nil {
		t.Fatal(err)
	}
	e := c.Engine
	if e.RateSenderMessages != (engine.Rate{Count: 60, Per: 10 * time.Second}) ||
		e.RateRoomJoins != (engine.Rate{Count: 5, Per: time.Minute}) ||
		e.RateRoomMessages != (engine.Rate{Count: 100, Per: 90 * time.Second}) || e.RateSenderCommands != (engine.Rate{}) ||
		e.MaxRooms != 3 || e.CreateAllow != engine.CreateOperators || e.ServiceAdmins != "sip:a@x.org, sip:b@x.org" {
		t.Errorf("got %+v", e)
	}
}

func TestNotices(t *testing.T) {
	for name, environ := range map[string][]string{
		"notices: {joined: 'hallo {user}'}\n": {secretEnv},
		"":                                    {secretEnv, `IMCD_NOTICES={"joined": "hallo {user}"}`},
	} {
		c, err := load(t, name, environ)
		if err != nil {
			t.Fatal(err)
		}
		if c.Engine.Notices["joined"] != "hallo {user}" {
			t.Errorf("notices are %v", c.Engine.Notices)
		}
	}
}

func TestSecretsFromFiles(t *testing.T) {
	url := write(t, "url", "postgres://imcd:hunter2@localhost/imcd\n")
	secret := write(t, "secret", "abc")
	c, err := load(t, "", nil, "--db_url_file", url, "--evapi_secret_file", secret)
	if err != nil {
		t.Fatal(err)
	}
	if c.DB.URL != "postgres://imcd:hunter2@localhost/imcd" || c.Kamailios[0].Secret != "abc" {
		t.Errorf("got %q and %q", c.DB.URL, c.Kamailios[0].Secret)
	}
}

// TestBadValues: every error is one line, names the key and where the value
// stands, and quotes no secret.
func TestBadValues(t *testing.T) {
	for file, want := range badFiles {
		t.Run(want, func(t *testing.T) {
			environ := []string{secretEnv}
			if want == "evapi_secret" {
				environ = nil
			}
			_, err := load(t, file, environ)
			checkError(t, err, want, "imcd.yaml")
		})
	}
	for variable, want := range map[string]string{
		"IMCD_NO_SUCH_KEY=1":            "no_such_key",
		"IMCD_HASH_SIZE=":               "hash_size",
		"IMCD_HASH_SIZE=many":           "hash_size",
		"IMCD_NOTICES=[":                "notices",
		"IMCD_EVAPI=":                   "evapi",
		"IMCD_EVAPI_SECRET=hunter2 two": "evapi_secret",
		"IMCD_EVAPI_SECRET=":            "evapi_secret",
	} {
		t.Run(variable, func(t *testing.T) {
			_, err := load(t, "", []string{variable})
			name, _, _ := strings.Cut(variable, "=")
			checkError(t, err, want, name)
		})
	}
	_, err := load(t, "", []string{secretEnv, "RPC_PORT=99999"})
	checkError(t, err, "rpc_listen", "RPC_PORT")
	_, err = load(t, "", []string{secretEnv}, "--hash_size=11")
	checkError(t, err, "hash_size", "--hash_size")
}

func checkError(t *testing.T, err error, key, source string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %v", err)
	}
	text := err.Error()
	if !strings.HasPrefix(text, key+" (") || !strings.Contains(text, source) || strings.Contains(text, "\n") {
		t.Errorf("the error is %q, should name %s and %s in one line", text, key, source)
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("the error shows a secret: %q", text)
	}
}

func TestBadFiles(t *testing.T) {
	for _, text := range []string{"- a\n- b\n", "hash_size: [\n", "hash_size: 1\nhash_size: 2\n", "just text", "\x00"} {
		_, err := load(t, text, []string{secretEnv})
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "imcd.yaml") {
			t.Errorf("%q: the error is %v", text, err)
		}
	}
	if _, err := Load(Sources{File: "/does/not/exist"}); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("the error is %v", err)
	}
}

func TestOperatorSecretIsNotImcds(t *testing.T) {
	if _, err := load(t, "", []string{secretEnv, OperatorSecretEnv + "=x"}); err != nil {
		t.Error(err)
	}
}
