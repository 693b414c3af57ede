//go:build deb

package debpackage

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

// TestPackage: a clean Debian 12, the package, the edits of the README, chat,
// upgrade, purge.
func TestPackage(t *testing.T) {
	b := newBox(t)
	first := b.add(os.Getenv("IMCD_DEB"))
	before := b.files()

	// Kamailio comes along.
	b.apt("install", first)
	b.checkInstalled()
	b.checkKamailioSide()

	b.applyReadme()
	b.write("/etc/kamailio/kamailio-local.cfg", "alias=\"chat.test\"\n")
	kamailio := b.startKamailio()
	imcd := b.startUnit()
	c := b.chat()
	c.begin()
	b.checkTool()

	secret := b.read("/etc/imcd/secret")
	b.change("/etc/imcd/imcd.yaml", func(s string) string { return s + "\nsuccess_code: 202\n" })
	b.forget()
	b.apt("install", b.nextVersion(os.Getenv("IMCD_DEB")))
	b.checkUpgraded(secret)
	b.halt(imcd)
	imcd = b.startUnit()
	c.goOn()
	if out := b.run("imcctl", "rooms"); !strings.Contains(out, "chat-1@chat.test") { // which asks for no token
		b.t.Errorf("imcctl rooms:\n%s", out)
	}
	b.halt(imcd)
	b.halt(kamailio)

	b.remove(secret)
	b.checkNothingLeft(before, secret)

	// Kamailio after imcd.
	b.apt("purge", "kamailio", "kamailio-extra-modules")
	b.apt("install", "--no-install-recommends", first)
	if b.exists("/etc/kamailio/imc-local.cfg") {
		t.Error("there is no Kamailio and imc-local.cfg is there")
	}
	b.apt("install", "kamailio", "kamailio-extra-modules")
	b.checkKamailioSide()
}

func (b *box) checkInstalled() {
	b.t.Helper()
	b.checkOwner("/etc/imcd/imcd.yaml", "640 root:imcd")
	b.checkOwner("/etc/imcd/secret", "640 root:imcd")
	b.checkOwner("/etc/imcd/operator", "640 root:root")
	b.checkOwner("/etc/imcd/rpc_token", "640 root:imcd")
	b.checkOwner("/var/lib/imcd", "750 imcd:imcd")
	if s := b.read("/etc/imcd/secret"); len(s) != 33 || s == b.read("/etc/imcd/operator") {
		b.t.Errorf("the secret has %d bytes", len(s))
	}
	for _, name := range []string{"/usr/share/man/man8/imcd.8.gz", "/usr/share/man/man5/imcd.yaml.5.gz",
		"/usr/share/man/man1/imcctl.1.gz",
		"/usr/share/doc/imcd/README.kamailio.md", "/etc/systemd/system/multi-user.target.wants/imcd.service"} {
		if !b.exists(name) {
			b.t.Errorf("there is no %s", name)
		}
	}
	if out := b.run("imcd", "-version"); out != "imcd v1.0.0\n" {
		b.t.Errorf("imcd -version: %q", out)
	}
	b.run("setpriv", "--reuid", "imcd", "--regid", "imcd", "--init-groups", "imcd", "-c", "/etc/imcd/imcd.yaml",
		"-check")
	if out, err := b.try("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "cat",
		"/etc/imcd/secret"); err == nil {
		b.t.Errorf("everybody can read %s", out)
	}
}

// checkKamailioSide: Kamailio finds the include and the same secrets.
func (b *box) checkKamailioSide() {
	b.t.Helper()
	b.checkOwner("/etc/kamailio/imc-local.cfg", "640 root:kamailio")
	local := b.read("/etc/kamailio/imc-local.cfg")
	for define, file := range map[string]string{"IMC_SECRET": "/etc/imcd/secret",
		"IMC_OPERATOR_SECRET": "/etc/imcd/operator"} {
		if line := "#!define " + define + " \"" + strings.TrimSpace(b.read(file)) +
			"\"\n"; !strings.Contains(local, line) {
			b.t.Errorf("imc-local.cfg has not the secret of %s", file)
		}
	}
	for name, text := range kamailiocfg.DropIn() {
		if to, err := os.Readlink(b.path("/etc/kamailio/" + name)); err != nil || b.read(to) != text {
			b.t.Errorf("%s is %s %v", name, to, err)
		}
	}
}

var diffBlock = regexp.MustCompile("(?ms)^```diff\n(.*?)^```$")

// applyReadme makes the edits that the installed README shows.
func (b *box) applyReadme() {
	b.t.Helper()
	diffs := diffBlock.FindAllStringSubmatch(b.read("/usr/share/doc/imcd/README.kamailio.md"), -1)
	if len(diffs) != 2 {
		b.t.Fatalf("README.kamailio.md shows %d diffs", len(diffs))
	}
	b.write("/root/kamailio.cfg.stock", b.read("/etc/kamailio/kamailio.cfg"))
	for _, diff := range diffs {
		cmd := exec.CommandContext(kit.Context(b.t), "patch", "--batch", b.path("/etc/kamailio/kamailio.cfg"))
		cmd.Stdin = strings.NewReader(diff[1])
		if out, err := cmd.CombinedOutput(); err != nil {
			b.t.Fatalf("patch: %v\n%s", err, out)
		}
	}
}

// startKamailio starts Kamailio as its unit does, but in the foreground.
func (b *box) startKamailio() *service {
	b.t.Helper()
	if err := os.MkdirAll(b.path("/run/kamailio"), 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.run("chown", "kamailio:kamailio", "/run/kamailio")
	return b.launch("kamailio", nil, "/usr/sbin/kamailio", "-P", "/run/kamailio/kamailio.pid", "-f",
		"/etc/kamailio/kamailio.cfg",
		"-m", "64", "-M", "8", "-DD", "-E")
}

// checkTool asks by imcctl through both doors.
func (b *box) checkTool() {
	b.t.Helper()
	for _, args := range [][]string{{"rooms"}, {"--evapi", "127.0.0.1:8448", "rooms"}, {"room", "1"}} {
		if out := b.run("imcctl", args...); !strings.Contains(out, "chat-1@chat.test") {
			b.t.Errorf("imcctl %v:\n%s", args, out)
		}
	}
	member := []string{"--reuid", "nobody", "--regid", "nogroup", "--groups", "imcd", "imcctl", "rooms"}
	if out := b.run("setpriv", member...); !strings.Contains(out, "chat-1@chat.test") {
		b.t.Errorf("imcctl in the group imcd:\n%s", out)
	}
	stranger := []string{"--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "imcctl", "rooms"}
	if out, err := b.try("setpriv", stranger...); err == nil || !strings.Contains(out, "rpc_token") {
		b.t.Errorf("imcctl of anybody: %v\n%s", err, out)
	}
}

// forget makes the installation one of a version that made no token.
func (b *box) forget() {
	b.t.Helper()
	b.run("rm", "/etc/imcd/rpc_token")
	b.change("/etc/imcd/imcd.yaml", func(s string) string {
		return strings.Replace(s, "\nrpc_token_file: /etc/imcd/rpc_token\n", "\n", 1)
	})
}

// nextVersion makes a newer package with another default configuration.
func (b *box) nextVersion(deb string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	root, newer := filepath.Join(dir, "root"), filepath.Join(dir, "imcd_1.1.0.deb")
	script := `dpkg-deb -R "$0" "$1"
sed -i 's/^Version: .*/Version: 1.1.0/' "$1/DEBIAN/control"
echo '# What is new.' >>"$1/etc/imcd/imcd.yaml"
dpkg-deb --root-owner-group -Zgzip -b "$1" "$2"`
	if out, err := exec.CommandContext(kit.Context(b.t), "sh", "-ec", script, deb, root,
		newer).CombinedOutput(); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	return b.add(newer)
}

func (b *box) checkUpgraded(secret string) {
	b.t.Helper()
	if v := b.run("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "imcd"); v != "1.1.0 installed" {
		b.t.Errorf("imcd is %s", v)
	}
	if !strings.Contains(b.read("/etc/imcd/imcd.yaml"), "success_code: 202") || b.read("/etc/imcd/secret") != secret {
		b.t.Error("the upgrade changed configuration or secret")
	}
	b.checkOwner("/etc/imcd/imcd.yaml", "640 root:imcd")
	b.checkOwner("/etc/imcd/rpc_token", "640 root:imcd")
	b.checkKamailioSide()
}

// remove takes the package away as the README says; too early, it gets an error.
func (b *box) remove(secret string) {
	b.t.Helper()
	if out := b.apt("remove", "imcd"); !strings.Contains(out, "still includes imc.cfg") {
		b.t.Errorf("nobody was warned:\n%s", out)
	}
	if b.read("/etc/imcd/secret") != secret || !b.exists("/var/lib/imcd/imcd.db") {
		b.t.Error("what only a purge may take is gone")
	}
	b.write("/etc/kamailio/kamailio.cfg", b.read("/root/kamailio.cfg.stock"))
	b.apt("purge", "imcd")
	b.run("kamailio", "-c", "-f", "/etc/kamailio/kamailio.cfg")
}

func (b *box) checkNothingLeft(before map[string]bool, secret string) {
	b.t.Helper()
	for name := range b.files() {
		// Kamailio's own module has imc in its name, too.
		ours := strings.Contains(name, "imcd") || strings.HasPrefix(name, "/etc/kamailio/imc")
		if ours && !before[name] && name != "/root/imcd_1.1.0.deb" && name != "/run/imcd-notify" {
			b.t.Errorf("%s is left", name)
		}
	}
	for _, file := range []string{"/etc/passwd", "/etc/group", "/etc/shadow"} {
		if strings.Contains(b.read(file), "imcd") {
			b.t.Errorf("imcd is left in %s", file)
		}
	}
	if out, err := b.try("dpkg-query", "-W", "imcd"); err == nil {
		b.t.Errorf("dpkg knows %s", out)
	}
	if out, err := b.try("grep", "-rlF", strings.TrimSpace(secret), "/etc", "/var"); err == nil {
		b.t.Errorf("the secret is left in %s", out)
	}
}

// chat is two users at the Kamailio of the box.
type chat struct {
	t          *testing.T
	alice, bob *evapitest.UA
}

const room = "sip:chat-1@chat.test"

func (b *box) chat() *chat {
	b.t.Helper()
	return &chat{t: b.t, alice: b.user("alice"), bob: b.user("bob")}
}

func (b *box) user(name string) *evapitest.UA {
	b.t.Helper()
	u := kit.UA(b.t, evapitest.UAConfig{User: name, Domain: "chat.test", Proxy: "127.0.0.1:5060"})
	// Kamailio may not be up yet: the UA sends again.
	if err := u.Register(kit.Context(b.t)); err != nil {
		b.t.Fatal(err)
	}
	return u
}

// begin makes a room and talks in it.
func (c *chat) begin() {
	c.t.Helper()
	c.until(c.alice, "#create", 200)
	c.until(c.bob, "#join", 200)
	c.until(c.alice, "hello", 200)
	c.hears(c.bob, "[alice]: hello")
}

// goOn: the room is still there, and the edited configuration is in force.
func (c *chat) goOn() {
	c.t.Helper()
	c.until(c.bob, "are you still there?", 202)
	c.hears(c.alice, "[bob]: are you still there?")
}

// until sends until it is answered with code: imcd and Kamailio find each other
// within a moment, and until then the answer is 503.
func (c *chat) until(u *evapitest.UA, text string, code int) {
	c.t.Helper()
	ctx := kit.Context(c.t)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := u.Say(ctx, room, text)
		if err != nil {
			c.t.Fatal(err)
		}
		if res.StatusCode == code {
			return
		}
		if res.StatusCode != 503 {
			c.t.Fatalf("%s: %d %s, want %d", text, res.StatusCode, res.Reason, code)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: %d %s", text, res.StatusCode, res.Reason)
		}
	}
}

func (c *chat) hears(u *evapitest.UA, text string) {
	c.t.Helper()
	_, err := u.Wait(kit.Context(c.t), func(all []evapitest.Received) bool {
		for _, r := range all {
			if r.Text() == text && r.From == room {
				return true
			}
		}
		return false
	})
	if err != nil {
		c.t.Errorf("%q did not arrive: %v", text, err)
	}
}
