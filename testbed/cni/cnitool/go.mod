module flatroute.io/testbed/cni/cnitool

go 1.24

require github.com/containernetworking/cni v1.3.0 // indirect

tool github.com/containernetworking/cni/cnitool
