// Move: y[box] = x[box], between any layouts. The box has S::rank axes, in the order of y's memory; S::step_x and
// S::step_y are the distances of neighbours in x and y, from_x and from_y the positions of its corner. An axis with
// step_x 0 repeats x. Copies, transposes, slices, broadcasts, and each part of a concatenation are moves.
// S: From and T (types of x and y), rank, size (elements of the box), blocks, extent(a), step_x(a), step_y(a).
template <class S> struct Move {
  In<typename S::From> x;
  Out<typename S::T> y;
  int from_x, from_y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) {
      int from = from_x, to = from_y, rest = i;
#pragma unroll
      for (int a = S::rank - 1; a >= 0; a--) {
        int at = rest % S::extent(a);
        rest /= S::extent(a);
        from += at * S::step_x(a);
        to += at * S::step_y(a);
      }
      y[to] = (typename S::T)x[from];
    }
  }
};

// Concat joins tensors along one axis: in memory, every row of y is a row of each x after the other.
// S: T, terms, rows, width (of a row of y), V, blocks, start(k) and, for k = terms, width.
template <class S> struct Concat {
  In<typename S::T> x[S::terms];
  Out<typename S::T> y;

  __device__ void run(int block) const {
    constexpr int V = S::V;
    for (int i = (block * Threads + thread()) * V; i < S::rows * S::width; i += S::blocks * Threads * V) {
      int row = i / S::width, at = i % S::width;
#pragma unroll
      for (int k = 0; k < S::terms; k++) {
        if (at < S::start(k) || at >= S::start(k + 1)) continue;
        int from = row * (S::start(k + 1) - S::start(k)) + at - S::start(k);
        if constexpr (V == 4) {
          store4(y, i, load4(x[k], from));
        } else {
          y[i] = x[k][from];
        }
      }
    }
  }
};

// Pad: y is x with zeros around it. Axes are in the order of y's memory. S: T, rank, size (of y), blocks, extent(a) of y,
// low(a), length(a) and step_x(a) of x.
template <class S> struct Pad {
  In<typename S::T> x;
  Out<typename S::T> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) {
      int from = 0, rest = i;
      bool inside = true;
#pragma unroll
      for (int a = S::rank - 1; a >= 0; a--) {
        int at = rest % S::extent(a) - S::low(a);
        rest /= S::extent(a);
        inside = inside && at >= 0 && at < S::length(a);
        from += at * S::step_x(a);
      }
      y[i] = inside ? x[from] : typename S::T(0);
    }
  }
};

// Reshape: the elements of x in their logical order, in another shape. S: From, T, size, blocks; rank_y, extent_y(a) and
// logical_y(a): axes of y in the order of memory with their logical distances; rank_x, extent_x(a), step_x(a): axes of x
// in logical order with their distances in memory.
template <class S> struct Reshape {
  In<typename S::From> x;
  Out<typename S::T> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) {
      int logical = 0, rest = i, from = 0;
#pragma unroll
      for (int a = S::rank_y - 1; a >= 0; a--) {
        logical += rest % S::extent_y(a) * S::logical_y(a);
        rest /= S::extent_y(a);
      }
#pragma unroll
      for (int a = S::rank_x - 1; a >= 0; a--) {
        from += logical % S::extent_x(a) * S::step_x(a);
        logical /= S::extent_x(a);
      }
      y[i] = (typename S::T)x[from];
    }
  }
};
