// Augmentation. Raw images are u8 [N][H][W][C]; random numbers are those of the reference, by position.
// S: n, h, w, c, stream, blocks.

// TakeImages copies the images that rows number, black for what the set lacks. S: images (of the set), size (of one), rows, blocks.
template <class S> struct TakeImages {
  In<u8> set;
  In<int> rows;
  Out<u8> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::rows * S::size; i += S::blocks * Threads) {
      int row = rows[i / S::size];
      y[i] = row >= 0 && row < S::images ? set[row * S::size + i % S::size] : (u8)0;
    }
  }
};

// RandomCrop pads by S::padding and cuts. 
template <class S> struct RandomCrop {
  In<u8> x;
  In<i64> seed, step;
  Out<u8> y;

  __device__ void run(int block) const {
    Philox random(seed[0], step[0], S::stream);
    for (int i = block * Threads + thread(); i < S::n * S::h * S::w * S::c; i += S::blocks * Threads) {
      int c = i % S::c, column = i / S::c % S::w, row = i / S::c / S::w % S::h, n = i / S::c / S::w / S::h;
      int r = row + random.below(2 * (u64)n, 2 * S::padding + 1) - S::padding;
      int q = column + random.below(2 * (u64)n + 1, 2 * S::padding + 1) - S::padding;
      y[i] = r >= 0 && r < S::h && q >= 0 && q < S::w ? x[((n * S::h + r) * S::w + q) * S::c + c] : (u8)0;
    }
  }
};

// RandomFlip mirrors an image left to right with probability one half.
template <class S> struct RandomFlip {
  In<u8> x;
  In<i64> seed, step;
  Out<u8> y;

  __device__ void run(int block) const {
    Philox random(seed[0], step[0], S::stream);
    for (int i = block * Threads + thread(); i < S::n * S::h * S::w * S::c; i += S::blocks * Threads) {
      int c = i % S::c, column = i / S::c % S::w, row = i / S::c / S::w;
      int q = random.below((u64)(row / S::h), 2) == 1 ? S::w - 1 - column : column;
      y[i] = x[(row * S::w + q) * S::c + c];
    }
  }
};

// NormalizeImage: (v/255 - mean(c))/deviation(c). Images channels last are in the order of the files.
template <class S> struct NormalizeImage {
  In<u8> x;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::n * S::h * S::w * S::c; i += S::blocks * Threads)
      y[i] = ((float)x[i] / 255.0f - S::mean(i % S::c)) / S::deviation(i % S::c);
  }
};

// Cutout zeros a square of side 2·S::half around a random centre.
template <class S> struct Cutout {
  In<typename S::Image> x;
  In<i64> seed, step;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    Philox random(seed[0], step[0], S::stream);
    for (int i = block * Threads + thread(); i < S::n * S::h * S::w * S::c; i += S::blocks * Threads) {
      int column = i / S::c % S::w, row = i / S::c / S::w % S::h, n = i / S::c / S::w / S::h;
      int r = row - random.below(2 * (u64)n, S::h), q = column - random.below(2 * (u64)n + 1, S::w);
      y[i] = -S::half <= r && r < S::half && -S::half <= q && q < S::half ? 0.0f : (float)x[i];
    }
  }
};

// DropPath: rows dropped with probability p, the others divided by 1-p. S: size, row (elements), blocks.
template <class S> struct DropPath {
  In<typename S::Image> x;
  In<float> p;
  In<i64> seed, step;
  Out<typename S::Image> y;
  int stream;

  __device__ void run(int block) const {
    Philox random(seed[0], step[0], stream);
    float keep = 1 - p[0];
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads)
      y[i] = random.uniform((u64)(i / S::row)) < keep ? x[i] / keep : 0.0f;
  }
};
