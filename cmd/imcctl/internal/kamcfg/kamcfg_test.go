package kamcfg

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// files are a folder in memory.
type files map[string]string

func (f files) open(path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, os.ErrNotExist)
	}
	return []byte(text), nil
}

func read(t *testing.T, f files) *Result {
	t.Helper()
	r, err := Read("/k/main.cfg", Options{Module: "imc", Functions: []string{"imc_manager"}, Open: f.open,
		Defines: map[string]string{"WITH_IMC": "", "LATER": "7"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestParams: wants are "name=value".
func TestParams(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`modparam("imc", "db_url", "postgres://a:b@c/d")`, "db_url=postgres://a:b@c/d"},
		{`modparam ( 'imc' , 'db_url' , 'x\n"y"' )`, `db_url=x\n"y"`},
		{`modparam("imc","extra_hdrs","A: 1\r\n\"B\\\x41\1\q")`, "extra_hdrs=A: 1\r\n\"B\\\\x41\\1\\q"},
		{"modparam(\"imc\",\"extra_hdrs\",\"a\\\nb\")", "extra_hdrs=ab"},
		{`modparam("imc", "hash_size", 6)`, "hash_size=6"},
		{`modparam("imc", "hash_size", 0x6)`, "hash_size=0x6"},
		{`modparam("imc", "hash_size", -1)`, "hash_size=-1"},
		{`modparam("imc|msilo", "db_url", "x")`, "db_url=x"},
		{`modparam("msilo|IMC|acc", "db_url", "x")`, "db_url=x"},
		{`modparam("imcx", "db_url", "x")`, ""},
		{`modparam("xmpp|msilo", "db_url", "x")`, ""},
		{`# modparam("imc", "db_url", "x")`, ""},
		{`// modparam("imc", "db_url", "x")`, ""},
		{`/* modparam("imc", "a", "x") */ modparam("imc", "c", "z")`, "c=z"},
		{`xlog("modparam(\"imc\", \"a\", \"x\")"); modparam("imc", "b", 1)`, "b=1"},
		{`xlog('# no comment'); modparam("imc", "b", "#c")`, "b=#c"},
		{"#!KAMAILIO\nmodparam(\"imc\", \"b\", 1)", "b=1"},
		{"#!define URL \"x\"\nmodparam(\"imc\", \"db_url\", URL)", "db_url=x"},
		{"!!def N 5\n#!trydef N 6\nmodparam(\"imc\", \"hash_size\", N)\n#!redefine N 7\nmodparam(\"imc\", \"hash_size\", N)",
			"hash_size=5 hash_size=7"},
		{"#!define A A\nmodparam(\"imc\", \"t\", A)", ""},
		{"#!define LONG \"a\\\nb\"\nmodparam(\"imc\", \"t\", LONG)", "t=ab"},
		{`modparam("imc", "t", LATER)`, "t=7"},
		{`modparam("imc", "t", UNKNOWN)`, ""},
		{"#!ifdef WITH_IMC\nmodparam(\"imc\", \"a\", 1)\n#!else\nmodparam(\"imc\", \"b\", 1)\n#!endif", "a=1"},
		{"#!ifndef WITH_IMC\nmodparam(\"imc\", \"a\", 1)\n#!ifdef WITH_IMC\nmodparam(\"imc\", \"c\", " +
			"1)\n#!endif\n#!define X 1\n#!else\nmodparam(\"imc\", \"b\", 1)\n#!endif\n#!ifdef X\nmodparam(\"imc\", \"d\", " +
			"1)\n#!endif", "b=1"},
		{"include_file \"more.cfg\"\nmodparam(\"imc\", \"b\", FROM_MORE)", "a=1 b=2"},
		{"#!include_file \"more.cfg\"\n", "a=1"},
		{"import_file \"none.cfg\"\nmodparam(\"imc\", \"b\", 1)", "b=1"},
		{"include_file \"/abs/x.cfg\"\n", "abs=1"},
		{"include_file \"main.cfg\"\nmodparam(\"imc\", \"b\", 1)", strings.TrimSpace(strings.Repeat("b=1 ", maxDepth))},
		{`modparam("imc", "a" "x") modparam("imc", "b", 1)`, "b=1"},
		{`modparam(modparam("imc", "b", 1)`, "b=1"},
		{`modparam("imc", "a", "unfinished`, ""},
		{`modparam("imc"`, ""},
		{`/* unfinished modparam("imc", "a", 1)`, ""},
	} {
		r := read(t, files{"/k/main.cfg": c.in, "/k/more.cfg": "modparam(\"imc\", \"a\", 1)\n#!define FROM_MORE 2\n",
			"/abs/x.cfg": `modparam("imc", "abs", 1)`})
		var got []string
		for _, p := range r.Params {
			got = append(got, p.Name+"="+p.Value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s\n  has %q, want %q (notes: %v)", c.in, got, c.want, r.Notes)
		}
	}
}

func TestNotes(t *testing.T) {
	r := read(t, files{"/k/main.cfg": "#!ifexp A > 1\n" + // 1
		"loadmodule \"imc.so\"\nloadmodule \"/usr/lib/kamailio/imc.so\"\nloadmodule \"acc.so\"\n" + // 2
		"include_file \"none.cfg\"\n" + // 5
		"modparam(\"imc\", 5)\n" + // 6
		"modparamx(\"imc\", \"a\", \"$env(X)\")\n" + // 7
		"#!subst \"/(/x/\"\n" + // 8
		"#!subst x\n#!substdef \"!!x!\"\n#!defenv NOT_SET\n#!defexp N 1+1\n" + // 9
		"route { if (x) { imc_manager(); } }\n" + // 13
		"#!else\n#!endif\n#!endif\n#!else\n" + // 14
		"modparam(\"im.*|acc\", \"a\", 1)\n" + // 18
		"#!ifdef Y\n"}) // 19
	var lines []int
	for _, n := range r.Notes {
		if n.Text == "" || n.File != "/k/main.cfg" {
			t.Errorf("note %+v", n)
		}
		lines = append(lines, n.Line)
	}
	if want := []int{1, 5, 6, 7, 8, 9, 10, 11, 12, 16, 17, 18, 20}; !slices.Equal(lines, want) {
		t.Errorf("notes at %v, want %v: %v", lines, want, r.Notes)
	}
	if len(r.Loads) != 2 || r.Loads[1].Line != 3 || len(r.Calls) != 1 || r.Calls[0].Line != 13 {
		t.Errorf("loads %v, calls %v", r.Loads, r.Calls)
	}
	if len(r.Params) != 1 || r.Params[0].Line != 7 {
		t.Errorf("params %v", r.Params)
	}
}

func TestReadErrors(t *testing.T) {
	f := files{"big.cfg": strings.Repeat("#", maxFile+1)}
	for _, path := range []string{"none.cfg", "big.cfg"} {
		if _, err := Read(path, Options{Module: "imc", Open: f.open}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// FuzzRead: reading ends for every file, also one that includes itself, and what is
// found stands in it.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`modparam("imc|x", 'a', "b\x41\"" "c") # x`, "#!define A \"x\"\nmodparam(\"imc\",\"b\",A)",
		"#!ifdef X\n/* /* */\n#!else\n#!endif",
		"#!subst \"/a(b)/\\1$1/g\"\nmodparam('imc','ab','abab')", "include_file \"self\"\n",
		"modparam(\"imc\", \"n\", -0x1f)", "!!trydef A B\\\nC", "\"\\", "'", "#!substdef \"!A!B!g\"\n\"A\"",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		open := func(string) ([]byte, error) { return []byte(text), nil }
		r, err := Read("self", Options{Module: "imc", Functions: []string{"imc_manager"}, Open: open})
		if err != nil {
			return // too long
		}
		lines := strings.Count(text, "\n") + 1
		for _, p := range r.Params {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("line %d of %d", p.Line, lines)
			}
		}
		for _, n := range slices.Concat(r.Notes, r.Loads, r.Calls) {
			if n.Line < 1 || n.Line > lines+1 {
				t.Errorf("line %d of %d: %s", n.Line, lines, n.Text)
			}
		}
	})
}
