package config

import "time"

var (
	NotifyNovaStatus = server.Bool("notify_nova_on_port_status_changes", true, "Tell Nova when a port of a server is plugged or unplugged.")
	NotifyNovaData   = server.Bool("notify_nova_on_port_data_changes", true, "Tell Nova when addresses of a server change.")
	NovaInterval     = server.Seconds("send_events_interval", 2*time.Second, "Shortest time between two messages to Nova.").Limit(AtLeast(time.Second))
	HTTPRetries      = server.Int("http_retries", 3, "Further attempts when another service cannot be reached.").Limit(Between(0, 100))
)

var (
	novaSection = neutron.Section("Nova", "nova")

	// NovaAuth is the service's identity for Nova.
	NovaAuth     = newAuth(novaSection).insteadIn("auth_section")
	NovaRegion   = novaSection.String("region_name", "", "Region of Nova; empty means the first one in the catalog.")
	NovaEndpoint = novaSection.String("endpoint_type", "public", "Endpoint of Nova to use.").Limit(OneOf("public", "admin", "internal"))
	NovaCAFile   = novaSection.String("cafile", "", "PEM file of the authorities to trust; empty means those of the system.")
	NovaCertFile = novaSection.String("certfile", "", "PEM file of a client certificate.")
	NovaKeyFile  = novaSection.String("keyfile", "", "PEM file of its key; empty means that certfile has both.")
	NovaInsecure = novaSection.Bool("insecure", false, "Accept any certificate of Keystone and Nova.")
	NovaTimeout  = novaSection.Seconds("timeout", 0, "Longest time of a request; 0 means 30 seconds.").Limit(AtLeast(time.Duration(0)))

	_ = novaSection.Ignore("for debugging keystoneauth", "collect_timing", "split_loggers")
)

var (
	notifications = neutron.Section("Notifications", "oslo_messaging_notifications")

	NotificationDrivers = notifications.Multi("driver", "Where notifications such as port.create.end go: `messaging` or `messagingv2` to the bus, `log` to the log, `noop` nowhere. Nothing is published without it.")
	NotificationTopics  = notifications.List("topics", []string{"notifications"}, "Topics on the bus. The priority is added to them: `notifications.info`.")

	_ = notifications.Ignore("notifications go over the bus, which keeps none for later", "transport_url", "retry")
)
