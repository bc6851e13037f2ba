package answer

// KernelPath says which part of the traffic the kernel relays itself.
type KernelPath struct {
	On bool `json:"on"`
	// Reason says why it is off; "" if the operator has turned it off.
	Reason string `json:"reason,omitempty"`
	// Sessions is how many sessions it relays at present.
	Sessions uint64 `json:"sessions"`
	// Devices are the network devices with an address of this host.
	Devices []KernelDevice `json:"devices"`
}

// KernelDevice is a network device at which datagrams enter the kernel path.
type KernelDevice struct {
	Name string `json:"name"`
	// Problem says why the path is not attached to it.
	Problem string `json:"problem,omitempty"`
	// Up counts the datagrams of sessions that were left to the shards, by reason.
	Up map[string]uint64 `json:"up"`
}
