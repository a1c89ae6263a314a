package config

import "time"

var (
	keystoneAuth = neutron.Section("Keystone", "keystone_authtoken")

	// KeystoneAuth is the service's own identity, to ask Keystone about tokens.
	KeystoneAuth            = newAuth(keystoneAuth).insteadIn("auth_section")
	WWWAuthenticateURI      = keystoneAuth.String("www_authenticate_uri", "", "Public address of Keystone, where clients without a valid token are sent; empty means auth_url.")
	KeystoneInterface       = keystoneAuth.String("interface", "internal", "Endpoint of Keystone to ask.").Limit(OneOf("public", "internal", "admin"))
	KeystoneRegion          = keystoneAuth.String("region_name", "", "Region of that endpoint; empty means the first one in the catalog.")
	KeystoneTimeout         = keystoneAuth.Seconds("http_connect_timeout", 0, "Longest time of a request to Keystone; 0 means 30 seconds.").Limit(AtLeast(time.Duration(0)))
	KeystoneRetries         = keystoneAuth.Int("http_request_max_retries", 3, "Further attempts when Keystone cannot be reached.").Limit(Between(0, 100))
	KeystoneCAFile          = keystoneAuth.String("cafile", "", "PEM file of the authorities to trust; empty means those of the system.")
	KeystoneCertFile        = keystoneAuth.String("certfile", "", "PEM file of a client certificate for Keystone.")
	KeystoneKeyFile         = keystoneAuth.String("keyfile", "", "PEM file of its key; empty means that certfile has both.")
	KeystoneInsecure        = keystoneAuth.Bool("insecure", false, "Accept any certificate of Keystone.")
	TokenCacheTime          = keystoneAuth.Seconds("token_cache_time", 300*time.Second, "How long what Keystone said about a token is believed, also after the token was revoked; -1 means that Keystone is asked every time.")
	ServiceTokenRoles       = keystoneAuth.List("service_token_roles", []string{"service"}, "Roles of which a service token needs one.")
	ServiceTokenRolesNeeded = keystoneAuth.Bool("service_token_roles_required", true, "Refuse service tokens without these roles. Otherwise they only cannot make expired tokens valid.")
	KeystoneServiceType     = keystoneAuth.String("service_type", "", "Type of this service in the catalog, `network`. Without it application credentials with access rules are refused.")
	DelayAuthDecision       = keystoneAuth.Bool("delay_auth_decision", false, "Answer 401 instead of 503 while Keystone is out of reach.")

	_ = keystoneAuth.Ignore("tokens are cached in memory, by each server",
		"memcached_servers", "memcache_servers", "memcache_security_strategy", "memcache_secret_key", "memcache_tls_enabled", "memcache_tls_cafile",
		"memcache_tls_certfile", "memcache_tls_keyfile", "memcache_tls_allowed_ciphers", "memcache_pool_dead_retry", "memcache_pool_maxsize",
		"memcache_pool_socket_timeout", "memcache_pool_unused_timeout", "memcache_pool_conn_get_timeout", "memcache_use_advanced_pool",
		"memcache_sasl_enabled", "memcache_username", "memcache_password", "cache")
	_ = keystoneAuth.Ignore("Keystone has only version 3 and no bound tokens; the catalog is not needed", "auth_version", "enforce_token_bind", "include_service_catalog")
)

var (
	middleware = neutron.Section("Server", "oslo_middleware")

	EnableProxyHeaders = middleware.Bool("enable_proxy_headers_parsing", false, "Believe the Forwarded and X-Forwarded headers when links are made. Only for servers that are reached through a proxy alone.")

	BasicAuthUserFile = middleware.String("http_basic_auth_user_file", "/etc/htpasswd", "Users and their passwords hashed by bcrypt, as `htpasswd -B` writes them, for `auth_strategy = http_basic`.").Was("DEFAULT.http_basic_auth_user_file")

	_ = middleware.Ignore("upstream's pipeline has no such filter", "max_request_body_size")
)

var (
	cors = neutron.Section("Server", "cors")

	// CORSOrigins and the options after it are told to browsers in headers (oslo.middleware's cors; the defaults are Neutron's).
	CORSOrigins     = cors.List("allowed_origin", nil, "Web sites whose scripts may use the API, such as `https://horizon.example.com`; `*` means all, empty means none.")
	CORSCredentials = cors.Bool("allow_credentials", true, "Let these scripts send credentials.")
	CORSExpose      = cors.List("expose_headers", []string{"X-Auth-Token", "X-Subject-Token", "X-Service-Token", "X-OpenStack-Request-ID", "OpenStack-Volume-microversion"},
		"Headers of answers that these scripts may read.")
	CORSMaxAge  = cors.Int("max_age", 3600, "How many seconds a browser may remember what it was told.")
	CORSMethods = cors.List("allow_methods", []string{"GET", "PUT", "POST", "DELETE", "PATCH"}, "Methods that these scripts may use.")
	CORSHeaders = cors.List("allow_headers", []string{"X-Auth-Token", "X-Identity-Status", "X-Roles", "X-Service-Catalog", "X-User-Id", "X-Tenant-Id", "X-OpenStack-Request-ID"},
		"Headers that these scripts may send, besides simple ones.")
)

// Auth is the options of a section by which a service proves its identity to Keystone (keystoneauth1's loading).
type Auth struct {
	section string
	byName  map[string]*Option[string]
	other   *Option[string] // names the section that has these options instead
}

// authOptions are the plug-in's options with their older names. Each is a text and empty by default.
var authOptions = []struct {
	name string
	was  []string
	help string
}{
	{"auth_type", []string{"auth_plugin"}, "How to authenticate: `password`, `v3password` or `v3applicationcredential`."},
	{"auth_url", nil, "Address of Keystone, with or without /v3."},
	{"username", []string{"user_name"}, "Name of the service's user."},
	{"user_id", nil, "Id of the user, instead of its name."},
	{"password", nil, "Password of the user."},
	{"user_domain_name", nil, "Domain of the user, by name."},
	{"user_domain_id", nil, "Domain of the user, by id."},
	{"project_name", []string{"tenant_name"}, "Project that the token is for."},
	{"project_id", []string{"tenant_id"}, "Id of that project, instead of its name."},
	{"project_domain_name", nil, "Domain of the project, by name."},
	{"project_domain_id", nil, "Domain of the project, by id."},
	{"default_domain_name", nil, "Domain of user and project where they name none."},
	{"default_domain_id", nil, "The same by id."},
	{"domain_name", nil, "Domain that the token is for, instead of a project."},
	{"domain_id", nil, "The same by id."},
	{"system_scope", nil, "`all` asks for a token for the system instead of a project."},
	{"trust_id", nil, "Trust that the token is for."},
	{"application_credential_id", nil, "Application credential, by id."},
	{"application_credential_name", nil, "Application credential of the user, by name."},
	{"application_credential_secret", nil, "Its secret."},
}

func newAuth(c *Section) *Auth {
	a := &Auth{section: c.name, byName: map[string]*Option[string]{}}
	for _, o := range authOptions {
		option := c.String(o.name, "", o.help).Was(o.was...)
		if o.name == "password" || o.name == "application_credential_secret" {
			option.Secret()
		}
		a.byName[o.name] = option
	}
	return a
}

// insteadIn declares the option by which another section can be named for all of these.
func (a *Auth) insteadIn(option string) *Auth {
	c := neutron.Section("Keystone", a.section)
	a.other = c.String(option, "", "Section that has the options from auth_type to application_credential_secret instead of this one.")
	neutron.movable = append(neutron.movable, a)
	return a
}

// isIn tells whether n is one of the options, in the section that is named for them.
func (a *Auth) isIn(f *File, n name) bool {
	section := a.other.Get(f)
	return section != "" && a.byName[n.option] != nil && newName(section, n.option) == n
}

// Get gives an option by its name.
func (a *Auth) Get(f *File, name string) string {
	if a.other != nil {
		if section := a.other.Get(f); section != "" {
			return newAuth(NewSet().Section("", section)).Get(f, name)
		}
	}
	return a.byName[name].Get(f)
}
