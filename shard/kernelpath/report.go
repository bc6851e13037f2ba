package kernelpath

import (
	"fmt"
	"slices"
)

// Device is the path's state at one network device.
type Device struct {
	Name string
	// Err says why the program is not attached.
	Err error
	// Up counts the datagrams of sessions that went up to user space, by Reasons.
	Up []uint64
}

// reasonNames are the reasons why a datagram of a session goes up, as metrics and API name
// them. The last one is no way up: it is lost.
var reasonNames = [...]string{
	pathReasonUP_OFF: "off", pathReasonUP_PENDING: "pending", pathReasonUP_PAUSED: "paused",
	pathReasonUP_TYPE: "type", pathReasonUP_LENGTH: "mtu", pathReasonUP_MIXED: "mixed_train",
	pathReasonUP_CHECKSUM: "checksum", pathReasonUP_REUSED: "reused", pathReasonUP_SHIELD: "shield",
	pathReasonBROKEN: "lost",
}

// Reasons returns the names of what Device.Up counts.
func Reasons() []string { return slices.Clone(reasonNames[:]) }

// Devices returns the devices that the program belongs to, by index.
func (p *Path) Devices() ([]Device, error) {
	devices, byIndex := p.hooks.report()
	var key uint32
	var counts []uint64
	entries := p.objects.Reasons.Iterate()
	for entries.Next(&key, &counts) {
		index, reason := int(key>>8), int(key&0xff)
		k, attached := byIndex[index]
		if !attached || reason >= len(reasonNames) {
			continue // the device is gone
		}
		for _, n := range counts { // by CPU
			devices[k].Up[reason] += n
		}
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read the reasons: %w", err)
	}
	return devices, nil
}
