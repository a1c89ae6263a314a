package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAuthSection(t *testing.T) {
	const own = "[keystone_authtoken]\nusername = own\ntenant_name = service\n"
	for _, c := range []struct {
		name, text string
		want       []string // username, project_name
		warnings   []string
	}{
		{"own section", own, []string{"own", "service"}, []string{"test.conf:3: [keystone_authtoken] tenant_name is an old name, write [keystone_authtoken] project_name"}},
		{"another section", "[keystone_authtoken]\nauth_section = Elsewhere\nusername = own\n[Elsewhere]\nusername = other\nproject_name = x\nwrong = 1\n",
			[]string{"other", "x"}, []string{"test.conf:7: [elsewhere] wrong is not known and has no effect"}},
		{"references", "[keystone_authtoken]\nusername = $project_name-user\nproject_name = x\n", []string{"x-user", "x"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := read(t, c.text)
			got := []string{KeystoneAuth.Get(f, "username"), KeystoneAuth.Get(f, "project_name")}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			warnings, err := Check(f)
			if diff := cmp.Diff(c.warnings, warnings); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}
