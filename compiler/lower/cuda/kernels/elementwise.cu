// Elementwise: y[i] = S::apply(x0[i], x1[i], …), one pass over memory; operands of one element stand for all positions.
// S: T, inputs, size, V (elements at a time), blocks, scalar(i), apply.
template <class S> struct Elementwise {
  typedef typename S::T T;
  In<T> x[S::inputs];
  Out<T> y;

  __device__ void run(int block) const {
    constexpr int V = S::V;
    T one[S::inputs], r[S::inputs][V];
    for (int k = 0; k < S::inputs; k++) one[k] = S::scalar(k) ? x[k][0] : T(0);
    for (int i = (block * Threads + thread()) * V; i < S::size; i += S::blocks * Threads * V) {
      for (int k = 0; k < S::inputs; k++) {
        if (S::scalar(k)) {
          for (int j = 0; j < V; j++) r[k][j] = one[k];
        } else if constexpr (V == 4) {
          Pack<4> p = load<4>(x[k], i);
          for (int j = 0; j < V; j++) r[k][j] = p.v[j];
        } else {
          r[k][0] = x[k][i];
        }
      }
      T out[V];
      for (int j = 0; j < V; j++) {
        T a[S::inputs];
        for (int k = 0; k < S::inputs; k++) a[k] = r[k][j];
        out[j] = S::apply(a);
      }
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
