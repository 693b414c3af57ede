package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"imcd/cmd/imcctl/internal/dbcopy"
	"imcd/cmd/imcctl/internal/kamcfg"
	"imcd/cmd/imcd/check"
)

// moduleParam is a parameter of the module imc and how its value is written here.
type moduleParam struct {
	name string
	// convert returns the value for imcd, and a remark on it. An error is
	// why there is none.
	convert func(value string) (v, remark string, err error)
}

// moduleParams are all that Kamailio's and OpenSIPS' modules have, in the order in
// which they are written.
func moduleParams() []moduleParam {
	return []moduleParam{
		{"db_url", convertURL},
		{"db_mode", func(v string) (string, string, error) {
			return v, "has no meaning here: everything is written at once", nil
		}},
		{"rooms_table", asItIs},
		{"members_table", asItIs},
		{"hash_size", convertInt},
		{"imc_cmd_start_char", convertStart},
		{"outbound_proxy", asItIs},
		{"extra_hdrs", asItIs},
		{"create_on_join", convertBool},
		{"check_on_create", convertBool},
	}
}

func asItIs(v string) (string, string, error) { return v, "", nil }

// convertURL takes the databases that imcd knows.
func convertURL(v string) (string, string, error) {
	switch scheme, _, _ := strings.Cut(v, ":"); scheme {
	case "postgres":
		return v, "", nil
	case "mysql", "mariadb":
		return "", "", fmt.Errorf("imcd works with PostgreSQL or SQLite: set db_url for it, or leave it out for an SQLite "+
			"file of imcd's own, stop Kamailio, and copy the rooms: MYSQL_PWD=... imcctl copy --from '%s' -c imcd.yaml",
			dbcopy.WithoutPassword(v))
	case "sqlite":
		return "", "", fmt.Errorf("SQLite files are written sqlite://FILE here; move the tables and set db_url")
	default:
		return "", "", fmt.Errorf("%s is no database that imcd has; move the tables to PostgreSQL, or leave db_url out "+
			"for an SQLite file of imcd's own", strconv.Quote(scheme))
	}
}

// parseInt reads a number as Kamailio writes them.
func parseInt(v string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", v)
	}
	return n, nil
}

func convertInt(v string) (string, string, error) {
	n, err := parseInt(v)
	return strconv.FormatInt(n, 10), "", err
}

func convertBool(v string) (string, string, error) {
	n, err := parseInt(v)
	if n != 0 {
		n = 1
	}
	return strconv.FormatInt(n, 10), "", err
}

// convertStart takes the first character, as the module does.
func convertStart(v string) (string, string, error) {
	if len(v) > 1 {
		return v[:1], "the module takes the first character of " + strconv.Quote(v), nil
	}
	return v, "", nil
}

// writeParams writes the settings of the modparam lines. The last line of a name counts.
func writeParams(b *bytes.Buffer, found *kamcfg.Result) error {
	last := map[string]kamcfg.Param{}
	for _, p := range found.Params {
		last[p.Name] = p
	}
	for _, m := range moduleParams() {
		p, given := last[m.name]
		if !given {
			if m.name == "db_url" {
				b.WriteString("# db_url was not set; the module then takes a MySQL server. Without it imcd has an SQLite file.\n" +
					"# The rooms move by: MYSQL_PWD=... imcctl copy --from mysql://kamailio@localhost/kamailio -c imcd.yaml\n")
			}
			continue
		}
		delete(last, m.name)
		if err := writeParam(b, m, p); err != nil {
			return err
		}
	}
	for _, p := range found.Params {
		if _, unknown := last[p.Name]; unknown {
			delete(last, p.Name)
			fmt.Fprintf(b, "# %s (%s:%d) is no parameter that imcd knows; it was %s\n", comment(p.Name), comment(p.File),
				p.Line, comment(strconv.Quote(p.Value)))
		}
	}
	return nil
}

func writeParam(b *bytes.Buffer, m moduleParam, p kamcfg.Param) error {
	v, remark, err := m.convert(p.Value)
	if err == nil {
		err = accepted(m.name, v)
	}
	if err != nil {
		// Never the value of db_url: it may have a password in it.
		fmt.Fprintf(b, "# %s (%s:%d) is left out: %s\n", m.name, comment(p.File), p.Line, comment(err.Error()))
		return nil
	}
	return writeSetting(b, m.name, v, remark)
}

// accepted reports why a value cannot stand in the file.
func accepted(key, v string) error {
	if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
		return fmt.Errorf("it is not UTF-8 text")
	}
	return check.Accepts(key, v)
}

// numbers are the settings that stand without quotes.
var numbers = map[string]bool{"db_mode": true, "hash_size": true, "create_on_join": true, "check_on_create": true}

// writeSetting writes one line of YAML.
func writeSetting(b *bytes.Buffer, key, v, remark string) error {
	text := []byte(v + "\n")
	if !numbers[key] {
		var err error
		text, err = yaml.Marshal(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: v})
		if err != nil {
			return fmt.Errorf("writing %s: %w", key, err)
		}
	}
	if remark != "" {
		fmt.Fprintf(b, "# %s: %s\n", key, comment(remark))
	}
	fmt.Fprintf(b, "%s: %s", key, text)
	return nil
}
