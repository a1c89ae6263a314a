package server

import (
	"fmt"

	"neutrino/internal/api"
	"neutrino/internal/config"
	"neutrino/internal/httpbasic"
	"neutrino/internal/keystone"
)

// authenticator finds out who calls the API, as auth_strategy says.
func (s *Server) authenticator() (api.Authenticator, error) {
	f := s.d.File
	switch config.AuthStrategy.Get(f) {
	case "noauth":
		return api.NoAuth{}, nil
	case "http_basic":
		return httpbasic.New(httpbasic.Config{UserFile: config.BasicAuthUserFile.Get(f), RolesFile: config.BasicAuthRoles.Get(f)}, s.d.Logger("httpbasic"))
	}
	cred := credentials(func(name string) string { return config.KeystoneAuth.Get(f, name) })
	cred.Region, cred.Interface = config.KeystoneRegion.Get(f), config.KeystoneInterface.Get(f)
	cred.CAFile, cred.CertFile, cred.KeyFile = config.KeystoneCAFile.Get(f), config.KeystoneCertFile.Get(f), config.KeystoneKeyFile.Get(f)
	cred.Insecure, cred.Timeout = config.KeystoneInsecure.Get(f), config.KeystoneTimeout.Get(f)
	cred.ConnectRetries = config.KeystoneRetries.Get(f)
	client, err := s.client(cred)
	if err != nil {
		return nil, fmt.Errorf("[keystone_authtoken]: %w", err)
	}
	return keystone.NewAuth(keystone.Config{WWWAuthenticateURI: config.WWWAuthenticateURI.Get(f), CacheTime: config.TokenCacheTime.Get(f),
		ServiceTokenRoles: config.ServiceTokenRoles.Get(f), ServiceTokenRolesMissing: !config.ServiceTokenRolesNeeded.Get(f),
		ServiceType: config.KeystoneServiceType.Get(f), DelayAuthDecision: config.DelayAuthDecision.Get(f)}, client, s.d.Logger("keystone")), nil
}

// credentials are those of one section, whose options get gives by name.
func credentials(get func(string) string) keystone.Credentials {
	return keystone.Credentials{AuthType: get("auth_type"), AuthURL: get("auth_url"), UserID: get("user_id"), Username: get("username"),
		Password: get("password"), UserDomainID: get("user_domain_id"), UserDomainName: get("user_domain_name"),
		DefaultDomainID: get("default_domain_id"), DefaultDomainName: get("default_domain_name"), ProjectID: get("project_id"),
		ProjectName: get("project_name"), ProjectDomainID: get("project_domain_id"), ProjectDomainName: get("project_domain_name"),
		DomainID: get("domain_id"), DomainName: get("domain_name"), SystemScope: get("system_scope"), TrustID: get("trust_id"),
		ApplicationCredentialID: get("application_credential_id"), ApplicationCredentialName: get("application_credential_name"),
		ApplicationCredentialSecret: get("application_credential_secret")}
}
