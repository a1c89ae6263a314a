package httpbasic

import (
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/identity"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"
)

// write makes a file of the text.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hash is of the password, as Apache writes it.
func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return "$2y$" + strings.TrimPrefix(string(h), "$2a$")
}

func TestAuthenticate(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{UserFile: filepath.Join(dir, "htpasswd")}
	write(t, cfg.UserFile, "# users\nada:"+hash(t, "pass:word")+"\n\nbob:"+hash(t, "secret")+"\neve:"+hash(t, "x")+"\n")
	roles := filepath.Join(dir, "roles")
	write(t, roles, "ada:p1:member\nbob:p2: manager , service\n")
	all := []string{"admin", "manager", "member", "reader"}
	for _, c := range []struct {
		name, user, password, roles string
		want                        *identity.Caller
	}{
		{"no header", "", "", "", nil},
		{"unknown user", "mallory", "secret", "", nil},
		{"wrong password", "ada", "secret", "", nil},
		{"no password", "ada", "", "", nil},
		{"administrator", "ada", "pass:word", "", &identity.Caller{UserID: "ada", UserName: "ada", ProjectID: "fake_project_id", Roles: all}},
		{"member", "ada", "pass:word", roles, &identity.Caller{UserID: "ada", UserName: "ada", ProjectID: "p1", Roles: []string{"member", "reader"}}},
		{"several roles", "bob", "secret", roles, &identity.Caller{UserID: "bob", UserName: "bob", ProjectID: "p2",
			Roles: []string{"manager", "service", "member", "reader"}}},
		{"not in the file of roles", "eve", "x", roles, &identity.Caller{UserID: "eve", UserName: "eve"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := cfg
			cfg.RolesFile = c.roles
			auth, err := New(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			for _, when := range []string{"first", "again"} {
				r := httptest.NewRequest("GET", "/v2.0/networks", nil)
				if c.user != "" {
					r.SetBasicAuth(c.user, c.password)
				}
				got, err := auth.Authenticate(r)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(when, diff)
				}
				if f := fault.As(err); c.want == nil && (f.Status != 401 || f.Challenge != `Basic realm="Neutron API"`) {
					t.Errorf("%s: %v", when, err)
				}
			}
		})
	}
}

// Changes of the file count at once, also for who has just been let in.
func TestFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	write(t, path, "ada:"+hash(t, "old")+"\n")
	auth, err := New(Config{UserFile: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	status := func(password string) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth("ada", password)
		if _, err := auth.Authenticate(r); err != nil {
			return fault.As(err).Status
		}
		return 200
	}
	if got := status("old"); got != 200 {
		t.Error(got)
	}
	write(t, path, "ada:"+hash(t, "new")+"\n")
	if diff := cmp.Diff([]int{401, 200}, []int{status("old"), status("new")}); diff != "" {
		t.Error(diff)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := status("new"); got != 503 {
		t.Error(got)
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	good, crypt, short := filepath.Join(dir, "good"), filepath.Join(dir, "crypt"), filepath.Join(dir, "short")
	write(t, good, "ada:"+hash(t, "x")+"\n")
	write(t, crypt, "ada:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
	write(t, short, "ada\n")
	for _, c := range []Config{{UserFile: filepath.Join(dir, "none")}, {UserFile: crypt}, {UserFile: short}, {UserFile: good, RolesFile: short}} {
		if _, err := New(c, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
