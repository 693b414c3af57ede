package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"imcd/cmd/imcctl/internal/kamcfg"
)

func (t *tool) importCommand() *cobra.Command {
	var out string
	var defines []string
	cmd := &cobra.Command{Use: "import-cfg KAMAILIO.CFG", Short: "Make imcd.yaml from the imc module's parameters",
		GroupID: groupHelp,
		Long: `Read the modparam("imc", ...) lines of a kamailio.cfg and write the imcd.yaml that
means the same, with a comment for what has no meaning here. Included files,
definitions and the conditions on them are followed; definitions that Kamailio gets
by -A must be given here, too. The comments also name the lines that you have to look
at yourself, like #!subst.

The file has the secret for Kamailio in it: IMC_SECRET if the configuration defines
it, else a new one. "imcd -check -c imcd.yaml" checks it.`,
		Example: "  imcctl import-cfg /etc/kamailio/kamailio.cfg -o imcd.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			t.asking = true
			return t.importCfg(args[0], out, defines)
		}}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`file` to write, which must not exist (default standard output)")
	cmd.Flags().StringArrayVarP(&defines, "define", "A", nil, "`NAME[=VALUE]`, as for kamailio")
	return cmd
}

func (t *tool) importCfg(path, out string, defines []string) error {
	o := kamcfg.Options{Module: "imc", Functions: []string{"imc_manager"}, Defines: map[string]string{}}
	for _, d := range defines {
		name, value, _ := strings.Cut(d, "=")
		o.Defines[name] = value
	}
	found, err := kamcfg.Read(path, o)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if len(found.Params) == 0 && len(found.Loads) == 0 {
		return fmt.Errorf("%s neither loads imc.so nor has a modparam line for it; if a condition hides them, give -A NAME",
			path)
	}
	text, err := imcdYAML(path, found, rand.Text())
	if err != nil {
		return err
	}
	if out == "" {
		_, err := t.out.Write(text)
		return err
	}
	return writeNew(out, text)
}

// writeNew writes a file that holds a secret and must not be there yet.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; move it away first", path)
	}
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// imcdYAML makes the file out of the result; secret is used if the
// configuration has none.
func imcdYAML(path string, found *kamcfg.Result, secret string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# imcd.yaml: what %s says of Kamailio's module imc.\n", comment(path))
	b.WriteString("# All settings with their meaning: imcd -print-config\n\n")
	if err := writeKamailio(&b, found, secret); err != nil {
		return nil, err
	}
	if err := writeParams(&b, found); err != nil {
		return nil, err
	}
	b.WriteString("\n# What the exit of a room's owner does. Kamailio's module, from 5.0 on, refuses it;\n# its " +
		"documentation, and imcd's default, is destroy.\nowner_leave: refuse\n")
	writeHints(&b, found)
	return b.Bytes(), nil
}

// writeKamailio writes the connection to Kamailio, which the module does not have.
func writeKamailio(b *bytes.Buffer, found *kamcfg.Result, secret string) error {
	b.WriteString("# The connection to Kamailio: IMC_EVAPI_BIND and IMC_SECRET of imc-local.cfg.\n")
	addr, given := unquoted(found.Defines["IMC_EVAPI_BIND"])
	if !given {
		addr = defaultEvapi
	}
	own, given := unquoted(found.Defines["IMC_SECRET"])
	if given && accepted("evapi_secret", own) == nil {
		secret = own
	} else {
		fmt.Fprintf(b, "# New: put   #!define IMC_SECRET %q   into imc-local.cfg.\n", secret)
	}
	for _, kv := range [][2]string{{"evapi", addr}, {"evapi_secret", secret}} {
		if err := writeSetting(b, kv[0], kv[1], ""); err != nil {
			return err
		}
	}
	b.WriteString("\n# The module's parameters.\n")
	return nil
}

// unquoted is the text of a definition that is a string.
func unquoted(s string) (string, bool) {
	if len(s) < 3 || s[0] != '"' || s[len(s)-1] != '"' || strings.ContainsAny(s[1:len(s)-1], `"\`) {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// writeHints lists the work that is left to the operator.
func writeHints(b *bytes.Buffer, found *kamcfg.Result) {
	var lines []string
	for _, l := range found.Loads {
		lines = append(lines, fmt.Sprintf("%s:%d: loadmodule \"imc.so\" and its modparam lines go", l.File, l.Line))
	}
	for _, c := range found.Calls {
		lines = append(lines, fmt.Sprintf("%s:%d: %s() becomes route(IMC_MANAGER), or goes: see kamailio-cfg/README.md",
			c.File, c.Line, c.Text))
	}
	for _, n := range found.Notes {
		lines = append(lines, fmt.Sprintf("%s:%d: %s", n.File, n.Line, n.Text))
	}
	if len(lines) == 0 {
		return
	}
	b.WriteString("\n# To do in kamailio.cfg, and what could not be read:\n")
	for _, l := range lines {
		fmt.Fprintf(b, "#   %s\n", comment(l))
	}
}

// comment makes a text fit for one line of a comment.
func comment(s string) string { return safe(s) }
