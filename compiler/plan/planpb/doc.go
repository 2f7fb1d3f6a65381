// Package planpb is the generated form of plan.proto, the payload of a .dplan file. Package plan alone reads and writes
// it, and turns it into structs of its own.
package planpb
