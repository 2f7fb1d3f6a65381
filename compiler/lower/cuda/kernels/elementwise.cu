// Elementwise: y[i] = S::apply of x[0][i], x[1][i], … and the numbers one[0][0], one[1][0], …, one pass over memory.
// S: T (of numbers), Image (of tensors in memory), wholes, ones (how many operands there are), size, V (elements at a time),
// blocks, apply.
template <class S> struct Elementwise {
  typedef typename S::T T;
  In<typename S::Image> x[larger(1, S::wholes)];
  In<T> one[larger(1, S::ones)];
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    constexpr int V = S::V;
    T a[V][larger(1, S::wholes + S::ones)], out[V];
    for (int k = 0; k < S::ones; k++)
      for (int j = 0; j < V; j++) a[j][S::wholes + k] = one[k][0];
    for (int i = (block * Threads + thread()) * V; i < S::size; i += S::blocks * Threads * V) {
      for (int k = 0; k < S::wholes; k++) {
        if constexpr (V == 4) {
          Pack<4> p = load<4>(x[k], i);
          for (int j = 0; j < V; j++) a[j][k] = p.v[j];
        } else {
          a[0][k] = x[k][i];
        }
      }
      for (int j = 0; j < V; j++) out[j] = S::apply(a[j]);
      if constexpr (V == 4) {
        store4(y, i, make_float4(out[0], out[1], out[2], out[3]));
      } else {
        y[i] = out[0];
      }
    }
  }
};

// Fill: y[i] = S::value. S: T, size, blocks, value.
template <class S> struct Fill {
  Out<typename S::T> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) y[i] = (typename S::T)S::value;
  }
};

// Cast: y[i] = x[i] in another type; numbers are cut towards zero. S: From, T, size, blocks.
template <class S> struct Cast {
  In<typename S::From> x;
  Out<typename S::T> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) y[i] = (typename S::T)x[i];
  }
};
