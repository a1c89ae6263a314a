package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
)

const (
	keystoneAddress = "127.0.0.1:5000"
	keystoneURL     = "http://" + keystoneAddress + "/v3"
	region          = "RegionOne"
	password        = "secret" // of everybody; nobody else is on this network
)

// The cheapest hashing of passwords, because tempest makes two projects and users for each class of tests. Keystone runs
// in one process, for the cache in memory, and in one thread: of two transactions that read and then write, SQLite
// fails one at once ("database is locked") and Keystone does not try again.
const keystoneConfiguration = `[database]
connection = sqlite:///%[1]s/keystone.sqlite
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = %[1]s/fernet-keys
[fernet_receipts]
key_repository = %[1]s/fernet-keys
[credential]
key_repository = %[1]s/credential-keys
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
`

// startKeystone starts an identity service with the user admin and the default roles.
func startKeystone(ctx context.Context, s *system) error {
	const home, user = workDir + "/keystone", "keystone"
	for _, dir := range []string{home, home + "/fernet-keys", home + "/credential-keys"} {
		if err := s.home(dir, user); err != nil {
			return err
		}
	}
	if err := s.write(home+"/keystone.conf", fmt.Sprintf(keystoneConfiguration, home), user); err != nil {
		return err
	}
	// A Fernet key is 32 random bytes in the URL-safe base64; key 0 is the staged one and the highest signs.
	for _, name := range []string{"fernet-keys/0", "fernet-keys/1", "credential-keys/0", "credential-keys/1"} {
		key := make([]byte, 32)
		rand.Read(key)
		if err := s.write(home+"/"+name, base64.URLEncoding.EncodeToString(key), user); err != nil {
			return err
		}
		if err := os.Chmod(s.path(home+"/"+name), 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"db_sync"},
		{"bootstrap", "--bootstrap-password", password, "--bootstrap-region-id", region, "--bootstrap-public-url", keystoneURL,
			"--bootstrap-internal-url", keystoneURL, "--bootstrap-admin-url", keystoneURL},
	} {
		args = append([]string{"/usr/bin/keystone-manage", "--config-file", home + "/keystone.conf"}, args...)
		if err := s.run(ctx, program{name: "keystone-" + args[3], user: user, args: args}); err != nil {
			return err
		}
	}
	return s.start(ctx, program{name: "keystone", user: user, env: []string{"OS_KEYSTONE_CONFIG_FILES=" + home + "/keystone.conf"},
		args: []string{"/usr/bin/uwsgi_python3", "--plugins", "python3", "--http-socket", keystoneAddress, "--module", "keystone.wsgi.api:application",
			"--master", "--processes", "1", "--threads", "1", "--lazy-apps", "--need-app", "--die-on-term", "--buffer-size", "65535",
			"--disable-logging", "--rem-header", "Content-Length", "--add-header", "Connection: close"}}, keystoneAddress)
}
