// Package rnn writes the recurrent networks of DARTS as IR: the language model of a search (Liu et al. 2019, sec. 3.2; the
// original's rnn/model_search.py) and the models derived from a genotype (rnn/model.py), each with its embedding, its
// tied decoder and its dropouts. Variables carry the original's PyTorch names (encoder.weight, rnns.0._W0, rnns.0._Ws.3,
// decoder.bias, alphas).
//
// Sequences are [T,B]: T steps of time of B rows of text side by side; hidden states [B,N]. The loop over time is one
// operation (ir.Scan), so that a program is as large for 5 steps as for 35. A program has room for T steps and takes an
// input that says how many there are; a recipe that wants several lengths builds programs for a few of them and uses
// the smallest that has room.
//
// # Programs
//
// Package bilevel makes these programs of the networks (Lengths are the T that there are programs for; a program's name
// is Name(kind, T), for example "search_step/35"):
//
//	search_step/T   one step of a search: alphas on the validation text, then weights on the training text
//	  inputs   length i64 []                  steps, at most T
//	           train_tokens, train_targets    i32 [T,B]; beyond length tokens 0, targets -1
//	           valid_tokens, valid_targets    i32 [T,B]
//	  results  loss         mean negative log-likelihood a token of the training batch, without regularisation
//	           total_loss   with it
//	           valid_loss   what the alphas were updated on
//	           grad_norm    of the weights, before clipping
//	  reads and moves on the variables hidden.train and hidden.valid f32 [B,N]
//
//	train_step/T    one step of a training by SGD;  train_average_step/T  the same by averaged SGD (ASGD)
//	  inputs   length, train_tokens, train_targets;  results  loss, total_loss, grad_norm
//	  moves on hidden.train; averaged SGD keeps the averages of a weight w in the variable w.average, and counts its updates in asgd.updates
//
//	evaluate/T      the network without dropouts;  evaluate_average/T  the same with the averaged weights
//	  inputs   length i64 [], tokens, targets i32 [T,E];  results  loss, the sum over all targets that are not -1
//	  moves on hidden.evaluate f32 [E,N]
//
// Controls (variables that the caller sets): learning_rate (of this step: the original scales it by length/bptt),
// alpha_learning_rate, seed, and step, which the programs count. A caller who begins a text anew sets its hidden state to
// zero. All state is in variables, so that a checkpoint of all of them resumes exactly.
//
// In use a derived model reads word by word and returns its hidden state: [Language.Reading], of which package export
// makes ONNX files.
package rnn

import "fmt"

// The variables that hold hidden states, f32 [rows of text, N].
const (
	HiddenTrain    = "hidden.train"
	HiddenValid    = "hidden.valid"
	HiddenEvaluate = "hidden.evaluate"
)

// Name is the name of a program that has room for so many steps.
func Name(kind string, steps int) string { return fmt.Sprintf("%s/%d", kind, steps) }
