package server

import (
	"context"
	"fmt"

	"neutrino/internal/api"
	"neutrino/internal/config"
	"neutrino/internal/keystone"
	"neutrino/internal/notification"
	"neutrino/internal/notify"
	"neutrino/internal/nova"
	"neutrino/internal/service/ml2"
)

// listeners are those who are told of what callers of the API do: Nova, and whoever reads notifications.
func (s *Server) listeners(h *ml2.Hooks) ([]api.Listener, error) {
	var all []api.Listener
	if config.NotifyNovaStatus.Get(s.d.File) || config.NotifyNovaData.Get(s.d.File) {
		n, err := s.nova()
		if err != nil {
			return nil, err
		}
		if n != nil && config.NotifyNovaStatus.Get(s.d.File) {
			h.AfterPort = append(h.AfterPort, n.PortStatus)
		}
		if n != nil && config.NotifyNovaData.Get(s.d.File) {
			all = append(all, nova.Data{Notifier: n})
		}
	}
	n, err := s.notifier()
	if n != nil {
		all = append(all, n)
	}
	return all, err
}

// nova makes what tells Nova of ports; nil if the configuration does not say how to reach it.
func (s *Server) nova() (*nova.Notifier, error) {
	f := s.d.File
	get := func(name string) string { return config.NovaAuth.Get(f, name) }
	if get("auth_type") == "" {
		s.d.Log.Info("Nova is not told of ports: [nova] has no auth_type")
		return nil, nil
	}
	cred := credentials(get)
	cred.Region, cred.Interface = config.NovaRegion.Get(f), config.NovaEndpoint.Get(f)
	cred.CAFile, cred.CertFile, cred.KeyFile = config.NovaCAFile.Get(f), config.NovaCertFile.Get(f), config.NovaKeyFile.Get(f)
	cred.Insecure, cred.Timeout = config.NovaInsecure.Get(f), config.NovaTimeout.Get(f)
	client, err := s.client(cred)
	if err != nil {
		return nil, fmt.Errorf("[nova]: %w", err)
	}
	n := nova.New(s.db, client, config.NovaInterval.Get(f), config.HTTPRetries.Get(f), s.d.Logger("nova"))
	s.d.Go("events for Nova", func(ctx context.Context) error { n.Run(ctx); return nil })
	return n, nil
}

// client is a client of another service that lives as long as the server.
func (s *Server) client(cred keystone.Credentials) (*keystone.Client, error) {
	client, err := keystone.NewClient(cred)
	if err != nil {
		return nil, err
	}
	s.d.Go("connections to "+cred.AuthURL, func(ctx context.Context) error {
		<-ctx.Done()
		client.Close()
		return nil
	})
	return client, nil
}

// notifier makes what publishes notifications; nil if nobody wants any.
func (s *Server) notifier() (*notification.Notifier, error) {
	f := s.d.File
	cfg := notify.Config{Drivers: config.NotificationDrivers.Get(f), Topics: config.NotificationTopics.Get(f), Publisher: "network." + s.d.Host}
	if err := notify.CheckDrivers(cfg.Drivers); err != nil || !notify.Wanted(cfg.Drivers) {
		return nil, err
	}
	p := notify.New(cfg, s.bus, s.d.Logger("notification"))
	s.d.Go("notifications", func(ctx context.Context) error { p.Run(ctx); return nil })
	return notification.New(p), nil
}
